//! Cutting a frame into IPv4 fragments and putting it together again [RFC 791, sections 2.3 and 3.2].

use crate::checksum;

/// `frame` cut into fragments whose IP packets fit `mtu`; each has the frame's Ethernet header and tag. Options with
/// the copy bit are in all fragments, the others in the first. DF is copied and does not stop the cut. A fragment can
/// be cut again. Padding is dropped.
///
/// Panics where `frame` is no IPv4 frame or `mtu` leaves no room for eight bytes after the header.
#[track_caller]
pub fn fragments(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let Some(whole) = Piece::of(frame) else { panic!("only a well-formed IPv4 frame can be fragmented") };
    if whole.header.len() + whole.data.len() <= mtu {
        return vec![whole.emit(whole.header, whole.offset, whole.mf, whole.data)];
    }
    let later_header = copied_options(whole.header);
    let mut cut = Vec::new();
    let mut data = whole.data;
    let mut offset = whole.offset;
    while !data.is_empty() {
        let header = if cut.is_empty() { whole.header } else { &later_header };
        let room = mtu.saturating_sub(header.len());
        assert!(room >= 8, "an MTU of {mtu} leaves no room after a header of {} bytes", header.len());
        let take = if data.len() <= room { data.len() } else { room / 8 * 8 };
        let (now, later) = data.split_at(take);
        cut.push(whole.emit(header, offset, whole.mf || !later.is_empty(), now));
        offset += take;
        data = later;
    }
    cut
}

/// The frame that these fragments, in whatever order, are; `None` where one is missing, two overlap or they are not
/// of one packet. A repeated fragment counts as an overlap. Headers come from the first fragment.
pub fn reassemble(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut pieces = fragments.iter().map(|f| Piece::of(f)).collect::<Option<Vec<_>>>()?;
    pieces.sort_by_key(|piece| piece.offset);
    let first = pieces.first()?;
    let mut data = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let last = i + 1 == pieces.len();
        if piece.offset != data.len() || piece.mf == last || piece.key() != first.key() {
            return None;
        }
        data.extend_from_slice(piece.data);
    }
    (first.header.len() + data.len() <= 65535).then(|| first.emit(first.header, 0, false, &data))
}

/// Where the IPv4 header of a frame starts, tagged or not.
pub(crate) fn ip_at(frame: &[u8]) -> Option<usize> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(14),
        [0x81, 0x00] if frame.get(16..18)? == [0x08, 0x00] => Some(18),
        _ => None,
    }
}

struct Piece<'a> {
    ethernet: &'a [u8],
    header: &'a [u8],
    offset: usize,
    mf: bool,
    data: &'a [u8],
}

impl<'a> Piece<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(ip_at(frame)?)?;
        let header_len = usize::from(packet.first()? & 0xf) * 4;
        let total_len = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
        let header = packet.get(..header_len).filter(|h| h.len() >= 20)?;
        let data = packet.get(header_len..total_len)?;
        let field = u16::from_be_bytes([header[6], header[7]]);
        Some(Piece { ethernet, header, offset: usize::from(field & 0x1fff) * 8, mf: field & 0x2000 != 0, data })
    }

    /// Source, destination, identification, protocol.
    fn key(&self) -> (&[u8], &[u8], u8) {
        (&self.header[12..20], &self.header[4..6], self.header[9])
    }

    #[track_caller]
    fn emit(&self, header: &[u8], offset: usize, mf: bool, data: &[u8]) -> Vec<u8> {
        assert!(offset <= 65528, "no fragment can start at {offset}");
        let mut out = [self.ethernet, header, data].concat();
        let packet = &mut out[self.ethernet.len()..];
        let total_len = (header.len() + data.len()) as u16;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        let reserved_and_df = packet[6] & 0xc0;
        packet[6..8].copy_from_slice(&((offset / 8) as u16).to_be_bytes());
        packet[6] |= reserved_and_df | u8::from(mf) << 5;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..header.len()]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        out
    }
}

/// The header of a later fragment: the options without the copy bit are left out.
fn copied_options(header: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = header.split_at(20);
    let mut out = fixed.to_vec();
    while let [kind, rest @ ..] = options {
        let length = match (*kind, rest) {
            (0, _) => break,
            (1, _) => 1,
            (_, [length, ..]) if (2..=options.len()).contains(&usize::from(*length)) => usize::from(*length),
            _ => break,
        };
        if kind & 0x80 != 0 {
            out.extend_from_slice(&options[..length]);
        }
        options = &options[length..];
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out[0] = out[0] & 0xf0 | (out.len() / 4) as u8;
    out
}
