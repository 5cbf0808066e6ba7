//! What a test may write where an address, with or without a port, is meant.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Anything that names an IPv4 address and perhaps a port (else 0).
pub trait IntoEndpoint {
    /// The address and port meant.
    fn into_endpoint(self) -> SocketAddrV4;
}

/// `endpoint("192.0.2.1:80")`, for assertions.
#[track_caller]
pub fn endpoint(what: impl IntoEndpoint) -> SocketAddrV4 {
    what.into_endpoint()
}

impl IntoEndpoint for SocketAddrV4 {
    fn into_endpoint(self) -> SocketAddrV4 {
        self
    }
}

impl IntoEndpoint for &str {
    #[track_caller]
    fn into_endpoint(self) -> SocketAddrV4 {
        match (self.parse(), self.parse()) {
            (Ok(endpoint), _) => endpoint,
            (_, Ok(address)) => SocketAddrV4::new(address, 0),
            _ => panic!("`{self}` is neither an IPv4 address nor address:port"),
        }
    }
}

impl IntoEndpoint for Ipv4Addr {
    fn into_endpoint(self) -> SocketAddrV4 {
        SocketAddrV4::new(self, 0)
    }
}

impl IntoEndpoint for [u8; 4] {
    fn into_endpoint(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.into(), 0)
    }
}

impl<A: IntoEndpoint> IntoEndpoint for (A, u16) {
    /// The pair's port wins over one inside the address.
    #[track_caller]
    fn into_endpoint(self) -> SocketAddrV4 {
        SocketAddrV4::new(*self.0.into_endpoint().ip(), self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_endpoint_can_be_written_in_several_ways() {
        let meant = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80);
        assert_eq!(endpoint("192.0.2.1:80"), meant);
        assert_eq!(endpoint(("192.0.2.1", 80)), meant);
        assert_eq!(endpoint((*meant.ip(), 80)), meant);
        assert_eq!(endpoint(([192, 0, 2, 1], 80)), meant);
        assert_eq!(endpoint("192.0.2.1"), endpoint(*meant.ip()));
    }

    #[test]
    #[should_panic(expected = "`192.0.2` is neither")]
    fn a_wrong_address_is_named() {
        endpoint("192.0.2");
    }
}
