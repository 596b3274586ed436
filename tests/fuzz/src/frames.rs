//! Frames in both directions, as the lines that come: what is taken for a frame is one, whoever wrote it down.

use omctl_protocol::frame::{FrameError, ScalarRow, parse_frame};
use omctl_protocol::{Down, Up};

/// A line from a device and from a server.
pub fn frames(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    match parse_frame::<Up>(line) {
        Ok(frame) => {
            let written = frame.to_line();
            let again: Up = parse_frame(&written).expect("a frame that was written is a frame");
            assert_eq!(again, frame);
            assert_eq!(again.to_line(), written);
        }
        Err(error) => told(&error),
    }
    match parse_frame::<Down>(line) {
        Ok(frame) => {
            if let Down::Rows(rows) = &frame {
                for row in &rows.rows {
                    drop(serde_json::from_str::<ScalarRow<'_>>(row.get()));
                }
            }
            let written = frame.to_line();
            let again: Down = parse_frame(&written).expect("a frame that was written is a frame");
            assert_eq!(again, frame);
            assert_eq!(again.to_line(), written);
        }
        Err(error) => told(&error),
    }
}

/// Every mistake has a code and a sentence that does not repeat what was sent.
pub(crate) fn told(error: &FrameError) {
    assert!(["too_deep", "duplicate_key", "bad_frame"].contains(&error.code()));
    assert!(error.to_string().starts_with("line "));
}
