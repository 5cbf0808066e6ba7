//! Replays one capture. The harness keeps its own book of translations: it learns outside ports and Call IDs from what
//! comes out, and puts them into what the servers of the capture send back.

use crate::Way;
use crate::datagram::{Datagram, End, GRE, Joined, Joiner, TCP, UDP, read};
use crate::lab::{INSIDE, Lab, OUTSIDE, POOL, Step, lan, lan_mac};
use crate::story::Story;
use dataplane::verdict::DropReason;
use etherparse::SlicedPacket;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const PPTP: u16 = 1723;
const CALL_REQUEST: u16 = 7;

/// What a capture holds, in its order.
pub(crate) enum Item {
    /// A whole datagram, and how it was cut.
    Whole(Joined),
    /// No IPv4 packet, or not all of one.
    Other(Vec<u8>),
}

/// Reads a capture. Datagrams come when their last piece does.
pub(crate) fn items(file: &Path) -> Vec<Item> {
    let mut joiner = Joiner::default();
    let items = frames(file).into_iter().filter_map(|frame| match frame.get(12..14) {
        Some([8, 0]) => match read(&frame[14..]) {
            Some(packet) => joiner.add(packet).map(Item::Whole),
            None => Some(Item::Other(frame)),
        },
        _ => Some(Item::Other(frame)),
    });
    let items = items.collect();
    assert_eq!(joiner.left(), 0, "{}: incomplete datagrams", file.display());
    items
}

/// The frames of a capture; those of the BSD loopback get an Ethernet header.
pub(crate) fn frames(file: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let link = reader.header().datalink;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_raw_packet() {
        let data = packet.unwrap().data.into_owned();
        frames.push(match link {
            DataLink::ETHERNET => data,
            DataLink::NULL => [&[0; 12][..], &[8, 0], &data[4..]].concat(),
            other => panic!("{}: link type {other:?}", file.display()),
        });
    }
    frames
}

/// What became of a capture.
#[derive(Default)]
pub(crate) struct Tally {
    /// Packets put in at the inside, and at the outside.
    pub(crate) put: [usize; 2],
    /// Datagrams delivered outside, and inside.
    pub(crate) delivered: [usize; 2],
    /// Ports and Call IDs that became others.
    pub(crate) renamed: usize,
    /// Of the tunnel's packets.
    pub(crate) drops: BTreeMap<DropReason, u64>,
    /// Of what the capture holds besides: ARP, multicast, IPv6, packets between others.
    pub(crate) strays: BTreeMap<DropReason, u64>,
    /// Every frame that was sent.
    pub(crate) frames: Vec<Vec<u8>>,
}

/// The book.
#[derive(Default)]
struct Book {
    /// Protocol, client and its port → outside port.
    ports: HashMap<(u8, u8, u16), u16>,
    /// Client and its Call ID → the translated one.
    calls: HashMap<(u8, u16), u16>,
}

impl Book {
    fn port(&self, client: u8) -> impl Fn(u8, u16) -> u16 {
        move |protocol, port| self.ports.get(&(protocol, client, port)).copied().unwrap_or(port)
    }

    fn call(&self, client: u8) -> impl Fn(u16) -> u16 {
        move |id| self.calls.get(&(client, id)).copied().unwrap_or(id)
    }

    /// Learns from what came out of what went in.
    fn learn(&mut self, client: u8, put: &Datagram, seen: &Datagram, name: &str) {
        if let (Some(inside), Some(outside)) = (put.port(End::Source), seen.port(End::Source)) {
            let known = *self.ports.entry((put.protocol(), client, inside)).or_insert(outside);
            assert_eq!(known, outside, "{name}: the port changed");
        }
        if let (Some(request), Some(translated)) = (pptp(put), pptp(seen))
            && let (Some([1, CALL_REQUEST, own]), Some([.., new])) = (message(request), message(translated))
        {
            self.calls.insert((client, own), new);
        }
    }
}

/// The PPTP that a TCP segment carries.
fn pptp(d: &Datagram) -> Option<&[u8]> {
    let control = d.protocol() == TCP && [End::Source, End::Destination].iter().any(|e| d.port(*e) == Some(PPTP));
    d.body.get(usize::from(*d.body.get(12)? >> 4) * 4..).filter(|p| control && !p.is_empty())
}

/// The first control message's PPTP type, control type and, where it is about a call, the identifier in its first field.
fn message(pptp: &[u8]) -> Option<[u16; 3]> {
    let word = |at: usize| pptp.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
    Some([word(2)?, word(8)?, word(12)?])
}

/// Puts translated identifiers into a PPTP control segment.
fn translate_calls(d: &mut Datagram, outwards: bool, id: impl Fn(u16) -> u16) {
    let Some(stream) = pptp(d) else { return };
    let from = d.body.len() - stream.len();
    let translated = testkit::pptp::translate(outwards, stream, id);
    assert_eq!(translated.malformed, None);
    d.body[from..].copy_from_slice(&translated.bytes);
    d.seal();
}

/// Replays a capture one way, and makes all claims about it that its story has.
pub(crate) fn replay(story: &Story, dir: &Path, way: &Way) -> Tally {
    let clients = u8::try_from(story.clients.len()).unwrap();
    let mut lab = Lab::new(way.workers, clients, |p| {
        (story.policy)(p);
        (way.policy)(p);
    });
    let mut book = Book::default();
    let mut tally = Tally::default();
    let client = |address: [u8; 4]| story.clients.iter().position(|c| *c == address);
    for (n, item) in items(&dir.join(story.file)).into_iter().enumerate() {
        let name = format!("{}, {}, item {n}", story.file, way.name);
        let joined = match item {
            Item::Whole(joined) => joined,
            Item::Other(frame) => {
                tally.stray(lab.put_frames(INSIDE, std::slice::from_ref(&frame)), &name);
                tally.stray(lab.put_frames(OUTSIDE, &[frame]), &name);
                continue;
            }
        };
        let Joined { datagram, cuts } = &joined;
        match (client(datagram.head.source), client(datagram.head.destination)) {
            (Some(from), _) => {
                let put = outbound(datagram, from as u8);
                let mac = Some(lan_mac(from as u8));
                let step = lab.put(INSIDE, mac, &put.pieces(cuts));
                tally.put[0] += cuts.len();
                let Some(seen) = tally.one(1, step, &name) else { continue };
                book.learn(from as u8, &put, &seen, &name);
                let mut expected = put.clone();
                expected.relabel(End::Source, POOL, book.port(from as u8));
                translate_calls(&mut expected, true, book.call(from as u8));
                same(expected, &seen, &name);
            }
            (None, Some(to)) => {
                let to = to as u8;
                let mut expected = datagram.clone();
                farther(&mut expected);
                let mut put = expected.clone();
                // For checksums the capture left unfinished; a quote's is what it was.
                expected.relabel(End::Destination, lan(to), |_, port| port);
                put.relabel(End::Destination, POOL, book.port(to));
                translate_calls(&mut put, false, book.call(to));
                if let Some(id) = call_id(&put) {
                    put.body[6..8].copy_from_slice(&book.call(to)(id).to_be_bytes());
                }
                let step = lab.put(OUTSIDE, None, &put.pieces(cuts));
                tally.put[1] += cuts.len();
                let macs: Vec<_> = step.sent[0].iter().map(|f| f[..6].to_vec()).collect();
                let Some(seen) = tally.one(0, step, &name) else { continue };
                assert!(macs.iter().all(|m| *m == lan_mac(to)), "{name}: sent to another host: {macs:02x?}");
                same(expected, &seen, &name);
            }
            (None, None) => {
                tally.stray(lab.put(OUTSIDE, None, &datagram.pieces(cuts)), &name);
            }
        }
    }
    lab.finish(story.file);
    let ports = book.ports.iter().filter(|((.., inside), outside)| inside != *outside).count();
    tally.renamed = ports + book.calls.iter().filter(|((_, own), new)| own != *new).count();
    tally
}

/// What a client sends, from its place behind the box.
fn outbound(captured: &Datagram, client: u8) -> Datagram {
    let mut put = captured.clone();
    farther(&mut put);
    put.relabel(End::Source, lan(client), |_, port| port);
    put
}

/// The capture was taken where there was one hop less.
fn farther(d: &mut Datagram) {
    d.head.time_to_live = d.head.time_to_live.saturating_add(1);
    d.head.header_checksum = d.head.calc_header_checksum();
}

/// The identifier of a call's GRE.
fn call_id(d: &Datagram) -> Option<u16> {
    let enhanced = d.protocol() == GRE && d.body.get(1).is_some_and(|b| b & 7 == 1);
    d.body.get(6..8).filter(|_| enhanced).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// The same datagram, one hop on, with right checksums.
#[track_caller]
fn same(mut expected: Datagram, seen: &Datagram, name: &str) {
    assert!(seen.is_sealed(), "{name}: a wrong checksum: {seen:02x?}");
    expected.head.time_to_live -= 1;
    if !expected.head.dont_fragment {
        // May be chosen anew [RFC 6864 §4.1].
        expected.head.identification = seen.head.identification;
    }
    let none = |d: &Datagram| d.protocol() == UDP && d.body.get(6..8) == Some(&[0, 0]);
    assert_eq!(none(&expected), none(seen), "{name}: UDP's no checksum is not kept");
    assert_eq!(expected.bare(), seen.bare(), "{name}: changed otherwise than expected");
}

impl Tally {
    /// The one datagram that a step sent by this port; `None` where it was dropped.
    #[track_caller]
    fn one(&mut self, by: usize, step: Step, name: &str) -> Option<Datagram> {
        let Step { sent, drops } = step;
        for frame in sent.iter().flatten() {
            SlicedPacket::from_ethernet(frame).unwrap_or_else(|e| panic!("{name}: {e}: {frame:02x?}"));
        }
        let mut joiner = Joiner::default();
        let whole: Vec<_> = sent[by].iter().filter_map(|f| joiner.add(read(&f[14..]).unwrap())).collect();
        self.frames.extend(sent.iter().flatten().cloned());
        for (reason, n) in &drops {
            *self.drops.entry(*reason).or_default() += n;
        }
        if !drops.is_empty() {
            assert!(whole.is_empty(), "{name}: sent, and {drops:?}");
            return None;
        }
        assert!(sent[1 - by].is_empty(), "{name}: sent back");
        assert_eq!((whole.len(), joiner.left()), (1, 0), "{name}: neither sent nor dropped");
        self.delivered[1 - by] += 1;
        whole.into_iter().next().map(|j| j.datagram)
    }

    /// What is no client's must go nowhere.
    #[track_caller]
    fn stray(&mut self, step: Step, name: &str) {
        assert!(step.sent.iter().all(Vec::is_empty), "{name}: forwarded: {:02x?}", step.sent);
        for (reason, n) in step.drops {
            *self.strays.entry(reason).or_default() += n;
        }
    }
}
