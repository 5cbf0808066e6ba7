//! Receive-side scaling: which header fields a device hashes to choose the RX queue.

use std::ops::BitOr;

/// A set of what a device hashes, as DPDK's `RTE_ETH_RSS_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RssFunctions(pub u64);

impl RssFunctions {
    /// Addresses of IPv4 and IPv6, fragments and other protocols.
    pub const IP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_IP);
    /// Addresses and ports of TCP.
    pub const TCP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_TCP);
    /// Addresses and ports of UDP.
    pub const UDP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_UDP);
    /// Addresses of IPv4; with some drivers only of what has no function of its own.
    pub const IPV4: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_IPV4);
    /// Addresses of IPv4 that is neither TCP, UDP nor SCTP.
    pub const IPV4_OTHER: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_IPV4_OTHER);
    /// Addresses and ports of TCP over IPv4.
    pub const IPV4_TCP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_IPV4_TCP);
    /// Addresses and ports of UDP over IPv4.
    pub const IPV4_UDP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_IPV4_UDP);
    /// The SPI of ESP.
    pub const ESP: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_ESP);
    /// The SPI of AH.
    pub const AH: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_AH);
    /// The session ID of L2TPv3.
    pub const L2TPV3: RssFunctions = RssFunctions(dpdk_sys::SHIM_RSS_L2TPV3);
    /// Of addresses, the source alone.
    pub const L3_SRC_ONLY: RssFunctions = RssFunctions(1 << dpdk_sys::SHIM_RSS_L3_SRC_ONLY_BIT);
    /// Of addresses, the destination alone.
    pub const L3_DST_ONLY: RssFunctions = RssFunctions(1 << dpdk_sys::SHIM_RSS_L3_DST_ONLY_BIT);
    /// Of ports, the source alone.
    pub const L4_SRC_ONLY: RssFunctions = RssFunctions(1 << dpdk_sys::SHIM_RSS_L4_SRC_ONLY_BIT);
    /// Of ports, the destination alone.
    pub const L4_DST_ONLY: RssFunctions = RssFunctions(1 << dpdk_sys::SHIM_RSS_L4_DST_ONLY_BIT);

    /// Those that are in both.
    pub const fn and(self, other: RssFunctions) -> RssFunctions {
        RssFunctions(self.0 & other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: RssFunctions) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for RssFunctions {
    type Output = RssFunctions;

    fn bitor(self, other: RssFunctions) -> RssFunctions {
        RssFunctions(self.0 | other.0)
    }
}

/// How a port spreads packets over its RX queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// What is hashed.
    pub functions: RssFunctions,
    /// The Toeplitz key, of the length that [`PortInfo::hash_key_size`](crate::PortInfo) says; the driver's own if `None`.
    pub key: Option<Vec<u8>>,
}

/// The Toeplitz hash of `words` (host order: an address, or two ports as `source << 16 | destination`) as DPDK computes it
/// in software. `None`: the key is shorter than `4 * (words + 1)` bytes.
pub fn toeplitz(words: &[u32], key: &[u8]) -> Option<u32> {
    // DPDK reads the key as aligned words, one more than there are of input.
    let key: Vec<[u8; 4]> = key.chunks_exact(4).map(|chunk| [chunk[0], chunk[1], chunk[2], chunk[3]]).collect();
    if key.len() <= words.len() {
        return None;
    }
    let key: Vec<u32> = key.into_iter().map(u32::from_ne_bytes).collect();
    let count = u32::try_from(words.len()).ok()?;
    // SAFETY: reads `count` words and `count + 1` words of key, which are there, and keeps neither.
    Some(unsafe { dpdk_sys::shim_softrss(words.as_ptr(), count, key.as_ptr().cast()) })
}
