//! TCP's control bits.

use std::fmt;
use std::ops::BitOr;

/// TCP's control bits, from CWR (0x80) to FIN (0x01).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

/// No more data from the sender.
pub const FIN: Flags = Flags(0x01);
/// Synchronise sequence numbers.
pub const SYN: Flags = Flags(0x02);
/// Reset the connection.
pub const RST: Flags = Flags(0x04);
/// Push.
pub const PSH: Flags = Flags(0x08);
/// The acknowledgment number means something.
pub const ACK: Flags = Flags(0x10);
/// The urgent pointer means something.
pub const URG: Flags = Flags(0x20);
/// ECN echo.
pub const ECE: Flags = Flags(0x40);
/// Congestion window reduced.
pub const CWR: Flags = Flags(0x80);

impl Flags {
    /// Whether all of `wanted` are set.
    pub fn contains(self, wanted: Flags) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"), (ECE, "ECE")];
        let mut separator = "";
        f.write_str("[")?;
        for (flag, name) in names.into_iter().chain([(CWR, "CWR")]) {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = " ";
            }
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
