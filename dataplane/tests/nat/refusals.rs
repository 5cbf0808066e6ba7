//! One story for each reason why a VPN is refused; [`crate::malformed`] tells them with the others.

use crate::lab::*;
use crate::pptp::Control;
use dataplane::policy::{Pairing, Policy, Switch};
use dataplane::verdict::DropReason;
use testkit::{ACK, Frame, IntoEndpoint, PSH, SYN, pptp};

/// A story, and the reason that it ends with.
type Story = (DropReason, fn() -> Lab);

fn lab(change: impl FnOnce(&mut Policy), story: impl FnOnce(&mut Lab)) -> Lab {
    let mut lab = Lab::with(change).off_the_record();
    story(&mut lab);
    lab
}

fn l2tp_control(from: impl IntoEndpoint, to: impl IntoEndpoint, assigned: u32) -> Frame<'static> {
    let mut avps = vec![0x80, 8, 0, 0, 0, 0, 0, 1, 0x80, 10, 0, 0, 0, 61];
    avps.extend(assigned.to_be_bytes());
    let mut bytes = vec![0, 0, 0, 0, 0xc8, 3, 0, 12 + 18, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(avps);
    Frame::ip(115, from, to).payload(bytes)
}

fn talk(l: &mut Lab) -> Control {
    Control::open(l, (A, 1500), (X, 1723))
}

pub(crate) fn all() -> Vec<Story> {
    use DropReason as D;
    vec![
        (D::PptpOff, || {
            lab(
                |p| p.passthrough.pptp = Switch::Off,
                |l| drop(l.put(INSIDE, Frame::tcp((A, 9), (X, 1723)).flags(SYN).ack(0))),
            )
        }),
        (D::L2tpOff, || {
            lab(|p| p.passthrough.l2tp = Switch::Off, |l| drop(l.put(INSIDE, Frame::udp((A, 9), (X, 1701)))))
        }),
        (D::IpsecOff, || {
            lab(|p| p.passthrough.ipsec = Switch::Off, |l| drop(l.put(OUTSIDE, Frame::udp((X, 4500), (P, 4500)))))
        }),
        (D::AlgOff, || {
            lab(|p| p.passthrough.ipsec = Switch::Plain, |l| drop(l.put(INSIDE, Frame::esp(A, X, 1000, 1))))
        }),
        (D::TunnelStrangers, || {
            let mut lab = Lab::over(2, |_| {}).off_the_record();
            let spis = (0x1000..).filter(|spi| *spi != 0);
            let frames: Vec<_> = spis.take(4000).map(|spi| Frame::esp(X, P, spi, 1)).collect();
            lab.put_all(crate::lab::OUTSIDE, frames);
            lab
        }),
        (D::L2tpIdTaken, || {
            lab(
                |_| {},
                |l| {
                    l.put(INSIDE, l2tp_control(A, X, 77));
                    l.put(INSIDE, l2tp_control(B, X, 77));
                },
            )
        }),
        (D::ProtocolTaken, || {
            lab(
                |p| p.passthrough.other = vec![41],
                |l| {
                    l.put(INSIDE, Frame::ip(41, A, X));
                    l.put(INSIDE, Frame::ip(41, B, X));
                },
            )
        }),
        (D::EspWaitFull, || {
            lab(
                |_| {},
                |l| {
                    l.put(INSIDE, Frame::esp(A, X, 1000, 1));
                    l.put(INSIDE, Frame::esp(B, X, 1001, 1));
                    l.wait(TURN);
                    l.put_all(OUTSIDE, (0..33).map(|n| Frame::esp(X, P, 2000, n)));
                },
            )
        }),
        (D::IpsecWaits, || {
            lab(
                |p| p.passthrough.pairing = Pairing::Strict,
                |l| {
                    l.put(INSIDE, Frame::esp(A, X, 1000, 1));
                    l.put(INSIDE, Frame::esp(B, X, 1001, 1));
                    l.wait(TURN + 50);
                },
            )
        }),
        (D::PptpOutOfOrder, || {
            lab(
                |_| {},
                |l| {
                    let mut c = talk(l);
                    c.next[0] += 100;
                    l.put(INSIDE, c.frame_out(&pptp::outgoing_call_request(1)));
                },
            )
        }),
        (D::PptpFragment, || {
            lab(
                |_| {},
                |l| {
                    let c = talk(l);
                    l.put(INSIDE, c.frame_out(&[0; 100]).id(9).fragment(0, true).payload(vec![0; 84]));
                },
            )
        }),
        (D::PptpForgotten, || {
            lab(
                |_| {},
                |l| {
                    let mut c = talk(l);
                    let first = c.frame_out(&pptp::outgoing_call_request(1)).flags(PSH | ACK);
                    l.put(INSIDE, &first);
                    c.next[0] += 168;
                    // Much more, all acknowledged, so that the first identifier is forgotten.
                    for n in 0..200 {
                        c.says(l, &pptp::call_clear_request(n));
                        let ack = c.next[0];
                        l.put(OUTSIDE, Frame::tcp(c.remote, c.outside).seq(5001).ack(ack));
                    }
                    l.put(INSIDE, &first);
                },
            )
        }),
        (D::TunnelLimit, || {
            lab(
                |p| p.passthrough.tunnels_per_subscriber = 1,
                |l| {
                    l.put(INSIDE, Frame::esp(A, X, 1000, 1));
                    // Servers of one worker only; with eight, one of thirty is enough.
                    l.put_all(
                        INSIDE,
                        (1..=30).map(|n| Frame::esp(A, std::net::Ipv4Addr::new(198, 51, 100, n), 1000, 1)),
                    );
                },
            )
        }),
        (D::TunnelsPending, || {
            lab(
                |p| p.passthrough.pending_per_server = 1,
                |l| {
                    l.put(INSIDE, Frame::esp(A, X, 1000, 1));
                    l.put(INSIDE, Frame::esp(B, X, 1000, 1));
                },
            )
        }),
        (D::TunnelTableFull, || {
            lab(
                |p| p.passthrough.tunnels = 1,
                |l| {
                    l.put_all(
                        INSIDE,
                        (1..=30).map(|n| Frame::esp(A, std::net::Ipv4Addr::new(198, 51, 100, n), 1000, 1)),
                    );
                },
            )
        }),
    ]
}
