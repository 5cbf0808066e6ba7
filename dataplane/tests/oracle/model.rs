//! The NAT in some 250 lines: lists and maps, no optimisation, nothing shared with the dataplane but the names of drops.
//! It chooses no ports: it learns the dataplane's choice, and insists on what must hold for any choice.

use dataplane::verdict::DropReason::{self, *};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Address and port, or ICMP identifier on the asking side and 0 on the answering one.
pub type End = (Ipv4Addr, u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What { Udp, Query, Reply, Syn, SynAck, Data, Fin, Reset, Forged }
use What::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet { pub proto: u8, pub src: End, pub dst: End, pub what: What }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate { Outward(Packet), Inward(Packet), Echo, Drop(DropReason), /// Dropped, and the sender is told.
    Refuse(DropReason) }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter { Anyone, Address, AddressAndPort }

#[derive(Clone, Debug)]
pub struct Wish {
    pub own: Ipv4Addr, pub pool: Vec<Ipv4Addr>, pub filter: Filter, pub hairpin: bool,
    pub forwards: Vec<(u8, End, End)>, pub one_to_one: Vec<(Ipv4Addr, Ipv4Addr)>, pub allow: Vec<(u8, End)>,
    pub sessions: usize, pub ports: usize,
    pub udp: u32, pub tcp: u32, pub tcp_up: u32, pub icmp: u32, pub rest: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By { Inside, Outside }

#[derive(Clone, Debug)]
struct Session { proto: u8, inside: End, outside: End, remote: End, holds: bool, last: u32, opener: By,
    answered: bool, crossed: bool, up: bool, fin: [bool; 2], over: bool, hurried: bool,
    /// 1: a reset was believed; 2: and then the inside went on.
    reset: u8 }

impl Session {
    fn beginning(&self) -> bool { !self.up && self.fin == [false; 2] && !self.over && self.reset == 0 }
}

struct Mapping { outside: End, resting: Option<u32> }

pub struct Model { wish: Wish, owns: Owns, pub now: u32, mappings: HashMap<(u8, End), Mapping>, sessions: Vec<Session>, homes: HashMap<Ipv4Addr, Ipv4Addr> }

/// Which outside end the dataplane chose for an inside end.
pub type Learn<'a> = &'a dyn Fn(u8, End) -> Option<End>;

/// Whether an inside end's own port may be kept, as far as sharding goes.
pub type Owns = Box<dyn Fn(End) -> bool>;

impl Model {
    pub fn new(wish: Wish, owns: Owns) -> Self {
        Self { wish, owns, now: 0, mappings: HashMap::new(), sessions: Vec::new(), homes: HashMap::new() }
    }

    pub fn inside_sends(&mut self, p: Packet, learn: Learn) -> Fate {
        if p.dst.0 == self.wish.own && p.what == Query { return Fate::Echo }
        let ours = self.ours(p.dst.0);
        if ours && !self.wish.hairpin { return Fate::Drop(HairpinOff) }
        match self.go_out(p, learn) {
            Ok(p) if ours => self.come_in(p).map_or_else(Fate::Drop, Fate::Inward),
            Ok(p) => Fate::Outward(p),
            Err(r @ (SubscriberSessions | SubscriberPorts | PortsExhausted)) => Fate::Refuse(r),
            Err(r) => Fate::Drop(r),
        }
    }

    pub fn outside_sends(&mut self, p: Packet) -> Fate {
        if p.dst.0 == self.wish.own && p.what == Query { return Fate::Echo }
        self.come_in(p).map_or_else(Fate::Drop, Fate::Inward)
    }

    /// An error from whoever received `p` (translated): its receiver's address and the packet as the sender knows it.
    pub fn error_about(&self, p: Packet, p_went_out: bool) -> Option<(Ipv4Addr, Ipv4Addr, Packet)> {
        let a = |p: Packet| self.sessions.iter().find(|s| (s.proto, s.outside, s.remote) == (p.proto, p.src, p.dst));
        let b = |p: Packet| self.sessions.iter().find(|s| (s.proto, s.inside, s.remote) == (p.proto, p.dst, p.src));
        if p_went_out { return a(p).map(|s| (p.dst.0, s.inside.0, Packet { src: s.inside, ..p })) }
        let p = b(p).map(|s| Packet { dst: s.outside, ..p })?;
        if !self.ours(p.src.0) { return Some((p.dst.0, p.src.0, p)) }
        a(p).map(|s| (p.dst.0, s.inside.0, Packet { src: s.inside, ..p }))
    }

    pub fn expire(&mut self, now: u32) {
        self.now = now;
        let wish = self.wish.clone();
        let limit = |s: &Session| match s.proto {
            6 if s.up && s.fin == [false; 2] && !s.over && s.reset == 0 => wish.tcp_up,
            6 if s.hurried && s.beginning() => wish.tcp.min(10_000),
            6 => wish.tcp,
            1 => wish.icmp,
            _ => wish.udp,
        };
        self.sessions.retain(|s| now < s.last + limit(s));
        let sessions = &self.sessions;
        self.mappings.retain(|&(proto, inside), m| {
            let mut uses = sessions.iter().filter(|s| (s.proto, s.inside, s.outside) == (proto, inside, m.outside));
            if m.resting.is_none() && !uses.clone().any(|s| s.holds) { m.resting = Some(now) }
            let rest = if proto == 6 { 0 } else { wish.rest };
            m.resting.is_none_or(|since| now < since + rest || uses.next().is_some())
        });
    }

    fn ours(&self, a: Ipv4Addr) -> bool {
        a == self.wish.own || self.wish.pool.contains(&a) || self.wish.one_to_one.iter().any(|m| m.0 == a)
    }

    fn go_out(&mut self, p: Packet, learn: Learn) -> Result<Packet, DropReason> {
        let known = self.sessions.iter().position(|s| (s.proto, s.inside, s.remote) == (p.proto, p.src, p.dst));
        let at = match known {
            Some(at) => at,
            None => {
                may_open(p)?;
                self.admit(p.src.0, self.wish.sessions)?;
                let outside = self.outside_for(p, learn)?;
                self.open(p.proto, p.src, outside, p.dst, By::Inside)
            }
        };
        if !matches!(p.what, Reset | Forged) {
            self.sessions[at].holds = true;
            if let Some(m) = self.mappings.get_mut(&(p.proto, p.src)) { m.resting = None }
        }
        self.track(at, By::Inside, p.what, true)?;
        Ok(Packet { src: self.sessions[at].outside, ..p })
    }

    fn come_in(&mut self, p: Packet) -> Result<Packet, DropReason> {
        let known = self.sessions.iter().position(|s| (s.proto, s.outside, s.remote) == (p.proto, p.dst, p.src));
        let at = match known {
            Some(at) => at,
            None => {
                let inside = self.inside_for(p)?;
                may_open(p)?;
                self.admit(inside.0, self.wish.sessions - self.wish.sessions / 4)?;
                self.open(p.proto, inside, p.dst, p.src, By::Outside)
            }
        };
        let admitted = self.inside_for(p).is_ok();
        self.track(at, By::Outside, p.what, admitted)?;
        Ok(Packet { dst: self.sessions[at].inside, ..p })
    }

    fn inside_for(&self, p: Packet) -> Result<End, DropReason> {
        if let Some(f) = self.wish.forwards.iter().find(|f| (f.0, f.1) == (p.proto, p.dst)) { return Ok(f.2) }
        if let Some(m) = self.wish.one_to_one.iter().find(|m| m.0 == p.dst.0) {
            let open = |a: &(u8, End)| a.0 == p.proto && a.1.0 == m.1 && (p.proto == 1 || a.1.1 == p.dst.1);
            return if self.wish.allow.iter().any(open) { Ok((m.1, p.dst.1)) } else { Err(FirewallDenied) };
        }
        let mut live = self.mappings.iter().filter(|(k, m)| k.0 == p.proto && m.outside == p.dst && m.resting.is_none());
        let (&(_, inside), _) = live.next().ok_or(Unsolicited)?;
        let knows = |s: &Session| s.holds && (s.proto, s.outside, s.remote.0) == (p.proto, p.dst, p.src.0);
        match self.wish.filter {
            Filter::Anyone => Ok(inside),
            Filter::Address if self.sessions.iter().any(knows) => Ok(inside),
            Filter::Address | Filter::AddressAndPort => Err(Filtered),
        }
    }

    fn outside_for(&mut self, p: Packet, learn: Learn) -> Result<End, DropReason> {
        let (proto, inside) = (p.proto, p.src);
        if let Some(f) = self.wish.forwards.iter().find(|f| (f.0, f.2) == (proto, inside)) { return Ok(f.1) }
        if let Some(m) = self.wish.one_to_one.iter().find(|m| m.1 == inside.0) { return Ok((m.0, inside.1)) }
        let known = self.mappings.get(&(proto, inside)).map(|m| (m.outside, m.resting.is_none()));
        if let Some((outside, true)) = known { return Ok(outside) }
        let live = self.mappings.iter().filter(|(k, m)| k.1.0 == inside.0 && m.resting.is_none()).count();
        if live >= self.wish.ports { return Err(SubscriberPorts) }
        if let Some((outside, false)) = known { return Ok(outside) }
        let chosen = learn(proto, inside).expect("a mapping is due and there is none");
        self.insist(proto, inside, chosen);
        self.mappings.insert((proto, inside), Mapping { outside: chosen, resting: None });
        Ok(chosen)
    }

    fn insist(&mut self, proto: u8, inside: End, chosen: End) {
        let home = *self.homes.entry(inside.0).or_insert(chosen.0);
        assert!(self.wish.pool.contains(&chosen.0) && home == chosen.0, "{inside:?}: {chosen:?} is not at its address");
        let free = |end: End| !self.mappings.iter().any(|(k, m)| k.0 == proto && m.outside == end)
            && !self.wish.forwards.iter().any(|f| (f.0, f.1) == (proto, end));
        assert!(free(chosen), "{inside:?} becomes {chosen:?}, which is another's");
        let kept = (home, inside.1);
        assert!(kept == chosen || !free(kept) || !(self.owns)(inside), "{inside:?} becomes {chosen:?} for no reason");
        assert_eq!(inside.1 < 1024, chosen.1 < 1024, "{inside:?} becomes {chosen:?}");
        assert!(proto != 17 || inside.1 % 2 == chosen.1 % 2, "{inside:?} becomes {chosen:?}: parity");
    }

    fn admit(&self, inside: Ipv4Addr, limit: usize) -> Result<(), DropReason> {
        let has = self.sessions.iter().filter(|s| s.inside.0 == inside).count();
        if has < limit { Ok(()) } else { Err(SubscriberSessions) }
    }

    fn open(&mut self, proto: u8, inside: End, outside: End, remote: End, opener: By) -> usize {
        let has = self.sessions.iter().filter(|s| s.inside.0 == inside.0).count();
        let hurried = proto == 6 && opener == By::Outside && has > self.wish.sessions / 2;
        self.sessions.push(Session { proto, inside, outside, remote, opener, holds: false, last: self.now,
            answered: false, crossed: false, up: false, fin: [false; 2], over: false, hurried, reset: 0 });
        self.sessions.len() - 1
    }

    fn track(&mut self, at: usize, by: By, what: What, admitted: bool) -> Result<(), DropReason> {
        let now = self.now;
        let s = &mut self.sessions[at];
        let guest = !s.holds && self.mappings.contains_key(&(s.proto, s.inside));
        let (first, inside) = (by == s.opener, by == By::Inside);
        let ended = s.over || s.reset == 1;
        let anew = Session { opener: by, answered: false, crossed: false, up: false, fin: [false; 2], over: false, reset: 0, ..*s };
        match what {
            Udp | Query | Reply if !inside => return Ok(()),
            Udp | Query | Reply => {}
            Forged => return Err(TcpBadReset),
            Syn if ended && !inside && !first && !admitted => return Err(TcpSynOnClosed),
            Syn if ended || (first && (s.fin != [false; 2] || s.reset == 2)) => *s = anew,
            _ if s.over => return Ok(()),
            Reset if s.reset == 1 => return Ok(()),
            Reset => s.reset = 1,
            SynAck | Data | Fin if s.reset == 1 && !inside => return Ok(()),
            SynAck | Data | Fin if s.reset == 1 => s.reset = 2,
            SynAck | Data | Fin if s.reset == 2 && !inside => (s.reset, s.up, s.fin) = (0, true, [false; 2]),
            Syn | SynAck | Data | Fin if s.reset == 2 => {}
            // Half a connection in its opening cannot close.
            Fin if s.beginning() && !s.answered && !s.crossed => {}
            Fin => {
                s.fin[usize::from(inside)] = true;
                s.over = s.fin == [true; 2];
            }
            Syn => s.crossed |= !first && !s.answered && s.fin == [false; 2],
            SynAck => {
                s.up |= s.crossed && inside;
                s.answered |= !first;
            }
            Data => s.up |= (s.crossed && inside) || (s.answered && first),
        }
        // A stranger cannot keep alive what only strangers use, or what the inside has not taken up.
        if inside || !(guest || s.opener == By::Outside && s.beginning()) { s.last = now }
        Ok(())
    }
}

fn may_open(p: Packet) -> Result<(), DropReason> {
    match p.what {
        Udp | Query | Syn => Ok(()),
        Reply => Err(Unsolicited),
        SynAck | Data | Fin | Reset | Forged => Err(TcpNoSession),
    }
}
