//! The pool: outside addresses that are ours to translate to, and nobody else's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{AddressSet, Links, overlapping};
use crate::diagnostic::{Located, Location};
use crate::document::Document;
use crate::link::Neighbour;
use crate::net::AddressRange;
use crate::port::Role;
use crate::table::List;

/// The most addresses of a pool.
const ADDRESSES: u64 = 65_536;

/// The most pieces that a remedy cuts a range into.
const PIECES: usize = 6;

pub(crate) struct Pool {
    ranges: Vec<Located<AddressRange>>,
    addresses: AddressSet,
    /// The outside ports' networks.
    outside: AddressSet,
    /// Outside addresses that somebody else has, and who.
    taken: BTreeMap<Ipv4Addr, String>,
    /// Whether the pool could be read, so that what is not in it really is not.
    pub(crate) complete: bool,
}

impl Pool {
    pub(crate) fn new(
        document: &Document<'_>,
        links: &Links,
        neighbours: &[Located<Neighbour>],
        list: &List<AddressRange>,
    ) -> Self {
        let ranges = if list.present {
            list.items.clone()
        } else {
            let default = links.first_outside.and_then(|address| AddressRange::new(address, address));
            default.into_iter().map(|range| Located::new(range, list.location.clone())).collect()
        };
        let pool = Pool {
            addresses: AddressSet::new(ranges.iter().map(|range| range.value)),
            outside: AddressSet::new(links.facing(Role::Outside).map(|link| link.net.range())),
            taken: taken(links, neighbours),
            complete: list.complete && (list.present || links.outside_complete),
            ranges,
        };
        if list.present {
            for range in &pool.ranges {
                pool.check(document, links, range);
            }
            pool.twice(document);
            pool.count(document, &list.location);
        }
        pool
    }

    fn check(&self, document: &Document<'_>, links: &Links, range: &Located<AddressRange>) {
        if let Some(address) = self.outside.first_outside(range.value).filter(|_| links.outside_complete) {
            self.report_elsewhere(document, links, &range.location, address);
        }
        let mut taken = self.taken.range(range.first()..=range.last());
        if let Some((address, whose)) = taken.next() {
            let more = match taken.count() {
                0 => String::new(),
                more => format!(" (and {more} more such)"),
            };
            let remedy = match self.free(range.value) {
                Some(pieces) => format!("write: {pieces}"),
                None => "remove it, or write only the addresses that are nobody else's".to_owned(),
            };
            document.error(&range.location, format!("{address} is {whose}{more}"), remedy);
        }
    }

    fn report_elsewhere(&self, document: &Document<'_>, links: &Links, at: &Location, address: Ipv4Addr) {
        let nets = links.list(Role::Outside);
        let message = format!("{address} lies in no outside port's network ({nets})");
        let remedy = "write: an address in one of these, or give an outside port an address in its network";
        document.error(at, message, remedy);
    }

    /// What is left of `range` without the addresses taken, as it would be written, if that is something short.
    fn free(&self, range: AddressRange) -> Option<String> {
        let mut pieces = Vec::new();
        let mut next = Some(range.first().to_bits());
        for address in self.taken.range(range.first()..=range.last()).map(|(address, _)| address.to_bits()) {
            if let (Some(first), Some(last)) = (next, address.checked_sub(1)) {
                pieces.extend(AddressRange::new(first.into(), last.into()));
            }
            next = address.checked_add(1);
            if pieces.len() > PIECES {
                return None;
            }
        }
        pieces.extend(next.and_then(|first| AddressRange::new(first.into(), range.last())));
        let pieces: Vec<_> = pieces.iter().map(|piece| format!("\"{piece}\"")).collect();
        (!pieces.is_empty()).then(|| pieces.join(", "))
    }

    fn twice(&self, document: &Document<'_>) {
        let span =
            |(index, range): (usize, &Located<AddressRange>)| (range.first().to_bits(), range.last().to_bits(), index);
        for (earlier, later) in overlapping(self.ranges.iter().enumerate().map(span).collect()) {
            if let (Some(earlier), Some(later)) = (self.ranges.get(earlier), self.ranges.get(later)) {
                let message = format!("{} overlaps {} (line {})", later.value, earlier.value, earlier.location.line());
                document.error(&later.location, message, "name each address once");
            }
        }
    }

    fn count(&self, document: &Document<'_>, location: &Location) {
        let count: u64 = self.ranges.iter().map(|range| range.len()).sum();
        if count > ADDRESSES {
            let message = format!("{count} addresses are more than {ADDRESSES}");
            document.error(location, message, format!("write: at most {ADDRESSES} addresses (a /16)"));
        }
    }

    /// The ranges in the order of the file.
    pub(crate) fn ranges(&self) -> Vec<Located<AddressRange>> {
        self.ranges.clone()
    }

    /// The address of a forward that names none.
    pub(crate) fn first(&self) -> Option<Ipv4Addr> {
        self.ranges.first().filter(|_| self.complete).map(|range| range.first())
    }

    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains(address)
    }

    /// Reports an address that cannot be a one-to-one mapping's outside.
    pub(crate) fn spare(&self, document: &Document<'_>, links: &Links, at: &Located<Ipv4Addr>) {
        let address = at.value;
        if let Some(own) = links.own(address) {
            let message = format!("{address} is a port's own address (line {})", own.line());
            document.error(&at.location, message, "write: an outside address that nothing else uses");
        } else if self.addresses.contains(address) {
            let range = self.ranges.iter().find(|range| range.contains(address));
            let line = range.map_or(0, |range| range.location.line());
            let message = format!("{address} is in the pool (line {line})");
            document.error(&at.location, message, "take it out of nat.pool, or write another address");
        } else if let Some(whose) = self.taken.get(&address) {
            let message = format!("{address} is {whose}");
            document.error(&at.location, message, "write: an outside address that nothing else uses");
        } else if links.outside_complete && !self.outside.contains(address) {
            self.report_elsewhere(document, links, &at.location, address);
        }
    }
}

fn taken(links: &Links, neighbours: &[Located<Neighbour>]) -> BTreeMap<Ipv4Addr, String> {
    let mut taken = BTreeMap::new();
    for link in links.facing(Role::Outside).filter(|link| link.net.prefix() < 31) {
        taken.insert(link.net.first(), format!("the network address of {}", link.net));
        taken.insert(link.net.last(), format!("the broadcast address of {}", link.net));
    }
    for neighbour in neighbours {
        taken.insert(neighbour.address, format!("a static neighbour (line {})", neighbour.location.line()));
    }
    for gateway in &links.gateways {
        taken.insert(gateway.value, format!("a port's gateway (line {})", gateway.location.line()));
    }
    taken
}
