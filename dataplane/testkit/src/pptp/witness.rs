//! What a stream becomes when it is read whole, message by message, with a table of what lies where.

/// A message as whoever reads whole ones sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its type.
    pub kind: u8,
    /// The identifier its sender chose.
    pub own: Option<u16>,
    /// The identifier its receiver chose.
    pub peer: Option<u16>,
    /// What became of the one that is translated.
    pub translated: Option<u16>,
    /// Its result; 0 when it has none.
    pub result: u8,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its bytes, as many as before.
    pub bytes: Vec<u8>,
    /// Its messages, but for a last one that is cut before its 17th byte.
    pub heard: Vec<Heard>,
    /// Where something begins that is no message.
    pub malformed: Option<usize>,
}

/// (type, length, sender's identifier, receiver's identifier, result)
const TABLE: [(u8, usize, usize, usize, usize); 15] = [
    (1, 156, 0, 0, 0),
    (2, 156, 0, 0, 14),
    (3, 16, 0, 0, 0),
    (4, 16, 0, 0, 12),
    (5, 16, 0, 0, 0),
    (6, 20, 0, 0, 16),
    (7, 168, 12, 0, 0),
    (8, 32, 12, 14, 16),
    (9, 220, 12, 0, 0),
    (10, 24, 12, 14, 16),
    (11, 28, 0, 12, 0),
    (12, 16, 12, 0, 0),
    (13, 148, 12, 0, 14),
    (14, 40, 0, 12, 0),
    (15, 24, 0, 12, 0),
];

/// Translates the stream of an inside host (`outwards`), or the one to it. `id` is what becomes of an identifier; the
/// high byte of what it gives may depend on the high byte alone. A last message may be cut anywhere.
pub fn translate(outwards: bool, stream: &[u8], id: impl Fn(u16) -> u16) -> Translated {
    let mut all = Translated { bytes: stream.to_vec(), heard: Vec::new(), malformed: None };
    let mut at = 0;
    while at < stream.len() {
        let rest = &stream[at..];
        let word = |at: usize| rest.get(at..at + 2).map(|w| u16::from_be_bytes([w[0], w[1]]));
        let lengths = word(0).is_none_or(|l| (16..=220).contains(&l));
        let types = word(2).is_none_or(|t| t == 1 || t == 2);
        let cookie = rest.get(4..8).is_none_or(|c| c == [0x1a, 0x2b, 0x3c, 0x4d]);
        let len = usize::from(word(0).unwrap_or(16));
        let kind = word(8).map(|kind| TABLE.iter().find(|row| u16::from(row.0) == kind && row.1 == len));
        let manages = word(2) == Some(2);
        if !lengths || !types || !cookie || (kind == Some(None) && !manages) {
            all.malformed = Some(at);
            break;
        }
        if let (Some(Some(&(kind, _, own, peer, result))), false) = (kind, manages) {
            let field = |at: usize| if at > 0 { word(at) } else { None };
            let place = if outwards { own } else { peer };
            if place > 0 {
                let half = rest.get(place).map(|&high| id(u16::from(high) << 8).to_be_bytes()[0]);
                let new = field(place).map(&id).map(u16::to_be_bytes);
                for (n, new) in [half, new.map(|n| n[1])].into_iter().enumerate() {
                    if let Some(new) = new {
                        all.bytes[at + place + n] = new;
                    }
                }
            }
            if rest.len() >= len.min(17) {
                let translated = field(place).map(&id);
                let result = if result > 0 { rest[result] } else { 0 };
                all.heard.push(Heard { kind, own: field(own), peer: field(peer), translated, result });
            }
        }
        at += len;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pptp;

    #[test]
    fn whose_identifier_it_is_decides_what_becomes_of_it() {
        let all = pptp::one_of_each(0x1111, 0x2222, 7).concat();
        for (outwards, ours, kinds) in
            [(true, 0x1111, vec![7, 8, 9, 10, 12, 13]), (false, 0x2222, vec![8, 10, 11, 14, 15])]
        {
            let seen = translate(outwards, &all, |id| id ^ 0xffff);
            let changed: Vec<_> = seen.heard.iter().filter(|h| h.translated.is_some()).map(|h| h.kind).collect();
            assert_eq!((changed, seen.heard.len(), seen.malformed), (kinds.clone(), 15, None));
            assert!(seen.heard.iter().filter_map(|h| h.translated).all(|t| t == ours ^ 0xffff));
            let differ = all.iter().zip(&seen.bytes).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 2 * kinds.len());
        }
    }

    #[test]
    fn a_cut_message_is_translated_as_far_as_it_goes_and_what_is_none_ends_it() {
        let cut = translate(true, &pptp::call_clear_request(0x0102)[..13], |id| id ^ 0xffff);
        assert_eq!((cut.bytes[12], cut.heard.len(), cut.malformed), (0xfe, 0, None));
        let stream = [pptp::stop_request(), pptp::management(&[1; 9]), vec![0, 3], pptp::stop_request()].concat();
        let seen = translate(true, &stream, |id| id);
        assert_eq!((seen.heard.len(), seen.malformed), (1, Some(16 + 21)));
    }
}
