//! The exit codes: a promise to scripts. `docs/` and the design list the same numbers.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed, for a reason without a number of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The project or the settings are wrong.
    Invalid = 3,
    /// Not allowed.
    NotAllowed = 4,
    /// No server answers.
    Unreachable = 5,
    /// What was named is not there.
    NotFound = 6,
    /// It exists already, is locked, or of a newer format.
    Exists = 7,
    /// It took too long.
    Timeout = 9,
    /// Devices diverged or lost data.
    Diverged = 20,
    /// An expectation was breached.
    Breached = 21,
    /// Nothing was proved: inconclusive or incomplete.
    Inconclusive = 22,
    /// Our bug.
    Bug = 70,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_stay() {
        use Exit::*;
        let all = [
            Ok,
            Failed,
            Usage,
            Invalid,
            NotAllowed,
            Unreachable,
            NotFound,
            Exists,
            Timeout,
            Diverged,
            Breached,
            Inconclusive,
            Bug,
            Interrupted,
            Terminated,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7, 9, 20, 21, 22, 70, 130, 143]);
    }
}
