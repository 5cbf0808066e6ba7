//! What an ARP packet means to us, and the packets that we send ourselves.

use crate::policy::Rules;
use crate::types::{Mac, PortId};
use crate::wire::{arp, eth};
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, IntoBytes, big_endian::U16};

/// What to do with an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Somebody said where he is. `true`: he asks for us, so that he is worth remembering.
    pub learn: Option<(Ipv4Addr, Mac, bool)>,
    /// Answer that this address of ours is here.
    pub answer: Option<Ipv4Addr>,
    /// It asks for an address of ours, or answers one.
    pub to_us: bool,
    /// Its sender only tells where he is [RFC 5227 §3].
    pub announcement: bool,
}

/// Malformed, or somebody uses an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Reads an ARP packet that arrived on `port`.
///
/// # Errors
/// [`Invalid`].
pub fn hear(packet: &[u8], port: PortId, rules: &Rules) -> Result<Heard, Invalid> {
    let Ok((a, _)) = arp::Arp::ref_from_prefix(packet) else { return Err(Invalid) };
    if !a.is_ipv4_over_ethernet() || Mac(a.sender_mac).is_group() {
        return Err(Invalid);
    }
    let (sender, target) = (a.sender(), a.target());
    let ours = rules.answers_arp(port, target);
    if rules.answers_arp(port, sender) {
        return Err(Invalid);
    }
    let request = a.operation.get() == arp::REQUEST;
    // A probe (sender 0.0.0.0, RFC 5227) is answered but teaches nothing.
    let learn = (!sender.is_unspecified() && rules.connected(port, sender) && !rules.is_broadcast(sender)).then_some((
        sender,
        Mac(a.sender_mac),
        request && ours,
    ));
    Ok(Heard { learn, answer: (request && ours).then_some(target), to_us: ours, announcement: sender == target })
}

/// Turns a request in place into our answer: `our` address is at `mac`. `frame` begins at its Ethernet header, and the
/// ARP packet at `l3`.
pub fn answer(frame: &mut [u8], l3: usize, our: Ipv4Addr, mac: Mac) -> bool {
    let Some((head, body)) = frame.split_at_mut_checked(l3) else { return false };
    let (Ok((ethernet, _)), Ok((a, _))) = (eth::Ethernet::mut_from_prefix(head), arp::Arp::mut_from_prefix(body))
    else {
        return false;
    };
    // Not the frame's source, which may be anything: `hear` has looked at the sender's.
    ethernet.dst = a.sender_mac;
    ethernet.src = mac.0;
    a.operation = U16::new(arp::REPLY);
    a.target_mac = a.sender_mac;
    a.target = a.sender;
    a.sender_mac = mac.0;
    a.sender = our.octets();
    true
}

/// Length of [`request`]'s frame without a tag.
pub const REQUEST_LEN: usize = eth::LEN + arp::LEN;

/// An untagged request for `target`, to all or to one.
#[must_use]
pub fn request(own: Ipv4Addr, own_mac: Mac, target: Ipv4Addr, to: Option<Mac>) -> [u8; REQUEST_LEN] {
    let mut frame = [0; REQUEST_LEN];
    let ethernet =
        eth::Ethernet { dst: to.unwrap_or(Mac::BROADCAST).0, src: own_mac.0, ethertype: U16::new(eth::TYPE_ARP) };
    let a = arp::Arp {
        hardware: U16::new(1),
        protocol: U16::new(eth::TYPE_IPV4),
        hardware_len: 6,
        protocol_len: 4,
        operation: U16::new(arp::REQUEST),
        sender_mac: own_mac.0,
        sender: own.octets(),
        target_mac: [0; 6],
        target: target.octets(),
    };
    for (byte, &value) in frame.iter_mut().zip(ethernet.as_bytes().iter().chain(a.as_bytes())) {
        *byte = value;
    }
    frame
}
