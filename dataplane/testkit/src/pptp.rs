//! PPTP's control messages (RFC 2637 §2), written field by field. What a test does not ask for is what a common client
//! or server sends, and never zero where a field is defined: a reader that looks in the wrong place sees it.
//!
//! [`translate`] says what a NAT that reads whole messages makes of a stream; [`talk`] plays a conversation.

mod talk;
mod witness;

pub use talk::{Segment, talk};
pub use witness::{Heard, Translated, translate};

/// One message: its header, then the fields.
fn message(kind: u16, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    let len = u16::try_from(12 + body.len()).expect("a message is short");
    let header = [&len.to_be_bytes()[..], &[0, 1], &[0x1a, 0x2b, 0x3c, 0x4d], &kind.to_be_bytes(), &[0, 0]].concat();
    [header, body].concat()
}

/// A text in a field of 64 bytes.
fn text(text: &str) -> [u8; 64] {
    let mut field = [0; 64];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}

fn start(kind: u16, result_and_error: [u8; 2]) -> Vec<u8> {
    let (framing, bearer, channels, firmware) = ([0, 0, 0, 3], [0, 0, 0, 3], [0, 5], [0, 9]);
    let head: [&[u8]; 6] = [&[1, 0], &result_and_error, &framing, &bearer, &channels, &firmware];
    message(kind, &[&head.concat(), &text("host"), &text("vendor")])
}

/// Type 1, Start-Control-Connection-Request.
pub fn start_request() -> Vec<u8> {
    start(1, [0, 0])
}

/// Type 2, Start-Control-Connection-Reply. Result 1 is "done", 3 "a channel exists already".
pub fn start_reply(result: u8) -> Vec<u8> {
    start(2, [result, 0])
}

/// Type 3, Stop-Control-Connection-Request.
pub fn stop_request() -> Vec<u8> {
    message(3, &[&[1, 0, 0, 0]])
}

/// Type 4, Stop-Control-Connection-Reply.
pub fn stop_reply(result: u8) -> Vec<u8> {
    message(4, &[&[result, 0, 0, 0]])
}

/// Type 5, Echo-Request.
pub fn echo_request(identifier: u32) -> Vec<u8> {
    message(5, &[&identifier.to_be_bytes()])
}

/// Type 6, Echo-Reply.
pub fn echo_reply(identifier: u32, result: u8) -> Vec<u8> {
    message(6, &[&identifier.to_be_bytes(), &[result, 0, 0, 0]])
}

/// Type 7, Outgoing-Call-Request. `call` is the sender's.
pub fn outgoing_call_request(call: u16) -> Vec<u8> {
    let (serial, min, max) = ([0, 7], [0, 0, 1, 0x2c], [5, 0xf5, 0xe1, 0]);
    let (bearer, framing, window, delay) = ([0, 0, 0, 3], [0, 0, 0, 3], [0, 64], [0, 4]);
    let rates: [&[u8]; 4] = [&call.to_be_bytes(), &serial, &min, &max];
    let link: [&[u8]; 5] = [&bearer, &framing, &window, &delay, &[0, 5, 0, 0]];
    message(7, &[&rates.concat(), &link.concat(), &text("12345"), &text("sub")])
}

/// Type 8, Outgoing-Call-Reply. `call` is the sender's, `peer` the receiver's.
pub fn outgoing_call_reply(call: u16, peer: u16, result: u8) -> Vec<u8> {
    let (cause, speed, window, delay, channel) = ([0, 6], [5, 0xf5, 0xe1, 0], [0, 16], [0, 4], [0, 0, 0, 2]);
    let ids: [&[u8]; 3] = [&call.to_be_bytes(), &peer.to_be_bytes(), &[result, 0]];
    message(8, &[&ids.concat(), &cause, &speed, &window, &delay, &channel])
}

/// Type 9, Incoming-Call-Request. `call` is the sender's.
pub fn incoming_call_request(call: u16) -> Vec<u8> {
    let (serial, bearer, channel, dialled, dialling) = ([0, 7], [0, 0, 0, 1], [0, 0, 0, 2], [0, 5], [0, 4]);
    let head: [&[u8]; 6] = [&call.to_be_bytes(), &serial, &bearer, &channel, &dialled, &dialling];
    message(9, &[&head.concat(), &text("12345"), &text("6789"), &text("sub")])
}

/// Type 10, Incoming-Call-Reply. `call` is the sender's, `peer` the receiver's.
pub fn incoming_call_reply(call: u16, peer: u16, result: u8) -> Vec<u8> {
    message(10, &[&call.to_be_bytes(), &peer.to_be_bytes(), &[result, 0], &[0, 16], &[0, 4], &[0, 0]])
}

/// Type 11, Incoming-Call-Connected. `peer` is the receiver's.
pub fn incoming_call_connected(peer: u16) -> Vec<u8> {
    message(11, &[&peer.to_be_bytes(), &[0, 0], &[5, 0xf5, 0xe1, 0], &[0, 16], &[0, 4], &[0, 0, 0, 1]])
}

/// Type 12, Call-Clear-Request. `call` is the sender's.
pub fn call_clear_request(call: u16) -> Vec<u8> {
    message(12, &[&call.to_be_bytes(), &[0, 0]])
}

/// Type 13, Call-Disconnect-Notify. `call` is the sender's.
pub fn call_disconnect_notify(call: u16, result: u8) -> Vec<u8> {
    message(13, &[&call.to_be_bytes(), &[result, 0], &[0, 6], &[0, 0], &[b'c'; 128]])
}

/// Type 14, WAN-Error-Notify. `peer` is the receiver's.
pub fn wan_error_notify(peer: u16) -> Vec<u8> {
    message(14, &[&peer.to_be_bytes(), &[0, 0], &[1; 24]])
}

/// Type 15, Set-Link-Info. `peer` is the receiver's.
pub fn set_link_info(peer: u16) -> Vec<u8> {
    message(15, &[&peer.to_be_bytes(), &[0, 0], &[0xff; 8]])
}

/// Types 1 to 15 in this order, each with those of the three that it has a field for.
pub fn one_of_each(own: u16, peer: u16, result: u8) -> [Vec<u8>; 15] {
    [
        start_request(),
        start_reply(result),
        stop_request(),
        stop_reply(result),
        echo_request(0x0102_0304),
        echo_reply(0x0102_0304, result),
        outgoing_call_request(own),
        outgoing_call_reply(own, peer, result),
        incoming_call_request(own),
        incoming_call_reply(own, peer, result),
        incoming_call_connected(peer),
        call_clear_request(own),
        call_disconnect_notify(own, result),
        wan_error_notify(peer),
        set_link_info(peer),
    ]
}

/// A management message (PPTP message type 2), which nobody has defined.
pub fn management(body: &[u8]) -> Vec<u8> {
    let mut bytes = message(0, &[body]);
    bytes[3] = 2;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_rfc() {
        let lengths = one_of_each(1, 2, 3).map(|m| m.len());
        assert_eq!(lengths, [156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24]);
    }

    #[test]
    fn a_reply_is_the_bytes_that_a_server_sends() {
        // Outgoing-Call-Reply: call 30720 answers call 0; connected; as captured but for speed, window and channel.
        let reply = outgoing_call_reply(30720, 0, 1);
        assert_eq!(reply[..18], [0, 32, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, 8, 0, 0, 0x78, 0, 0, 0, 1, 0]);
    }
}
