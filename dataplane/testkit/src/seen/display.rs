//! One line a frame, for assertion messages.

use super::{L2tpv3, Quoted, Seen, Transport};
use crate::{Mac, protocol};
use std::fmt::{Display, Formatter, Result};

impl Display for Seen {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(tag) = self.vlan {
            write!(f, "vlan {} ", tag & 0xfff)?;
        }
        match &self.transport {
            Transport::Arp(arp) => {
                let (sender, target) = (self.source.ip(), self.destination.ip());
                return match arp.operation {
                    1 => write!(f, "arp who has {target}? tell {sender} at {}", mac(arp.sender_mac)),
                    2 => write!(f, "arp {sender} is at {}, to {target}", mac(arp.sender_mac)),
                    other => write!(f, "arp operation {other}, {sender} -> {target}"),
                };
            }
            Transport::OtherEthernet => {
                let (from, to) = (mac(self.source_mac), mac(self.destination_mac));
                return write!(f, "ethertype {:#06x} {from} -> {to}, {} bytes", self.ethertype, self.payload.len());
            }
            _ => {}
        }
        write!(f, "{} {} ttl {} id {}", name(self.protocol), self.path(), self.ttl, self.id)?;
        ip_extras(f, self.tos, self.df, self.mf, self.offset, &self.ip_options)?;
        match &self.transport {
            Transport::Udp { checksum: false } => f.write_str(" no checksum")?,
            Transport::Tcp(tcp) => {
                write!(f, " {} seq {} ack {} win {}", tcp.flags, tcp.seq, tcp.ack, tcp.window)?;
                if let Some(mss) = tcp.mss {
                    write!(f, " mss {mss}")?;
                }
                if let Some(shift) = tcp.wscale {
                    write!(f, " wscale {shift}")?;
                }
            }
            Transport::Icmp(icmp) => {
                match icmp.kind {
                    0 => write!(f, " echo reply id {} seq {}", icmp.id(), icmp.seq())?,
                    8 => write!(f, " echo request id {} seq {}", icmp.id(), icmp.seq())?,
                    kind => write!(f, " type {kind} code {} rest {:02x?}", icmp.code, icmp.rest)?,
                }
                if let Some(quoted) = &icmp.quoted {
                    write!(f, " about ({quoted})")?;
                }
                if !icmp.extensions.is_empty() {
                    write!(f, " {} extensions", icmp.extensions.len())?;
                }
            }
            Transport::Gre(gre) => {
                write!(f, " call {}", gre.call_id)?;
                if let Some(seq) = gre.seq {
                    write!(f, " seq {seq}")?;
                }
                if let Some(ack) = gre.ack {
                    write!(f, " ack {ack}")?;
                }
            }
            Transport::Esp { spi, seq } => write!(f, " spi {spi:#010x} seq {seq}")?,
            _ => match self.l2tpv3() {
                Some(L2tpv3::Session(id)) => write!(f, " session {id:#010x}")?,
                Some(L2tpv3::Control(id)) => write!(f, " control {id:#010x}")?,
                None => {}
            },
        }
        write!(f, ", {} bytes", self.payload.len())
    }
}

impl Display for Quoted {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} ttl {} id {}", name(self.protocol), self.path(), self.ttl, self.id)?;
        ip_extras(f, self.tos, self.df, self.mf, self.offset, &self.ip_options)?;
        write!(f, ", {} bytes quoted of {}", self.data.len(), self.total_length)?;
        write!(f, ", checksum {}", format!("{:?}", self.checksum).to_lowercase())
    }
}

fn ip_extras(f: &mut Formatter<'_>, tos: u8, df: bool, mf: bool, offset: u16, options: &[u8]) -> Result {
    if tos != 0 {
        write!(f, " tos {tos:#04x}")?;
    }
    if df {
        f.write_str(" df")?;
    }
    if mf || offset != 0 {
        write!(f, " fragment at {offset}{}", if mf { "+" } else { "" })?;
    }
    if !options.is_empty() {
        write!(f, " options {options:02x?}")?;
    }
    Ok(())
}

fn name(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "icmp",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::IPV6 => "6in4",
        protocol::GRE => "gre",
        protocol::ESP => "esp",
        protocol::AH => "ah",
        protocol::L2TP => "l2tp",
        other => return format!("ip protocol {other}"),
    };
    name.to_owned()
}

fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
