use crate::frames;
use dataplane::flow::session::{NewLeg, NewSession, Session, Sessions};
use dataplane::nat::icmp_error::{quote, translate};
use dataplane::packet::{Class, Framing, Parsed, parse};
use dataplane::types::{Direction, Endpoint, Inside, Key, Mac, Outside, PortId, Proto, Tick};
use std::net::Ipv4Addr;
use testkit::{DESTINATION_MAC, Frame};

/// Reads any bytes as an ICMP message. What it quotes is found again after a translation, in either direction.
pub fn icmp_quote(message: &[u8]) {
    let mut message = message.get(..message.len().min(1480)).unwrap_or_default().to_vec();
    frames::mend_icmp(&mut message);
    let frame = Frame::ip(1, "198.51.100.1", "203.0.113.1").payload(message).pad_to(60).build();
    let framing = Framing { mac: Mac(DESTINATION_MAC), vlan: None };
    let Ok(Parsed::Ip(meta)) = parse(&frame, &framing) else { return };
    if meta.class != Class::IcmpError {
        return;
    }
    let Ok(q) = quote(&frame, &meta) else { return };
    // No session is of protocol 0: in the table it means a free place.
    if q.key.proto == Proto(0) {
        return;
    }
    for direction in [Direction::In, Direction::Out] {
        let session = session(&q.key, direction);
        let mut translated = frame.clone();
        assert!(translate(&mut translated, &meta, &q, &session, direction), "{q:?}");
        let Ok(Parsed::Ip(after)) = parse(&translated, &framing) else { panic!("a broken header left: {q:?}") };
        let found = quote(&translated, &after).unwrap_or_else(|r| panic!("{}: {q:?}", r.label()));
        let other = if direction == Direction::In { Direction::Out } else { Direction::In };
        assert_eq!(found.key, session.key(other));
    }
}

/// A session whose packets in the other direction are what an error that travels in `direction` quotes.
fn session(quoted: &Key, direction: Direction) -> Session {
    let other = Endpoint::new(Ipv4Addr::new(192, 168, 1, 77), 7777);
    if !matches!(quoted.proto, Proto::TCP | Proto::UDP | Proto::ICMP) {
        return leg(quoted, direction);
    }
    let (near, far) = match direction {
        Direction::In => (quoted.from(), quoted.to()),
        Direction::Out => (quoted.to(), quoted.from()),
    };
    let asks = quoted.proto != Proto::ICMP || near.port != 0;
    let other = if asks { other } else { Endpoint::new(other.addr, 0) };
    let (inside, outside) = if direction == Direction::In { (other, near) } else { (near, other) };
    let (inside, outside, proto) = (Inside(inside), Outside(outside), quoted.proto);
    let new = NewSession { proto, inside, outside, remote: far, owner: 0, flags: 0, inside_port: PortId(0) };
    let mut table = Sessions::new(1, 0, Tick(0), false);
    match table.open(&new, Tick(0), 1).ok().and_then(|id| table.get(id).copied()) {
        Some(session) => session,
        None => panic!("no room for one session"),
    }
}

/// The same for what has no ports.
fn leg(quoted: &Key, direction: Direction) -> Session {
    let ours = Ipv4Addr::new(192, 168, 1, 77);
    let came = if quoted.is_pptp() { Key::call(7777) } else { quoted.ident };
    let (direction, inside, outside, remote) = match direction {
        Direction::In => (Direction::Out, ours, quoted.src, quoted.dst),
        Direction::Out => (Direction::In, quoted.dst, ours, quoted.src),
    };
    let (proto, leaves, inside_port) = (quoted.proto, quoted.ident, PortId(0));
    let new =
        NewLeg { proto, direction, inside, outside, remote, arrives: came, leaves, tunnel: 0, flags: 0, inside_port };
    let mut table = Sessions::new(1, 0, Tick(0), false);
    let id = table.open_leg(&new, Tick(0), 1);
    let found = table.find_left(quoted, direction);
    assert_eq!(found, id.ok(), "the leg is found by what left");
    match found.and_then(|id| table.get(id).copied()) {
        Some(session) => session,
        None => panic!("no room for one leg"),
    }
}
