//! The process of one simulated device: `omctl` starts itself so, and says on standard input what to do. It is no command
//! of anybody's, so no help and no completion shows it.

use std::ffi::OsString;
use std::path::Path;

use super::Exit;
use super::remote::block_on;
use crate::simulate;

/// What such a process is started with; a file and a name follow.
pub(super) const WORD: &str = "device-obey";

/// Whether that is what the arguments say; then it is done when this comes back.
pub(super) fn asked(args: &[OsString]) -> Option<Exit> {
    let [_, word, file, name] = args else { return None };
    if word != WORD {
        return None;
    }
    let obeyed = block_on(async {
        let input = tokio::io::BufReader::new(tokio::io::stdin());
        let name = name.to_string_lossy();
        let obeyed = simulate::obey(Path::new(file), &name, input, tokio::io::stdout()).await;
        Ok(obeyed.is_ok())
    });
    // Whoever started it reads its answers and nothing else.
    Some(if obeyed.unwrap_or(false) { Exit::Ok } else { Exit::Failed })
}
