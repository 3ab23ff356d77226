//! The programs that this package is, apart from what they do.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which program it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A frontend.
    Rookeryd,
    /// The MUPDATE master, or a slave that stands alone.
    Mupdate,
}

impl Program {
    /// Its name, as it is started.
    pub fn name(self) -> &'static str {
        match self {
            Program::Rookeryd => "rookeryd",
            Program::Mupdate => "mupdate",
        }
    }

    /// Where its control socket is unless an option says otherwise.
    pub fn control_socket(self, configdirectory: &Path) -> PathBuf {
        configdirectory.join("socket").join(match self {
            Program::Rookeryd => "rookery",
            Program::Mupdate => "rookery-mupdate",
        })
    }
}
