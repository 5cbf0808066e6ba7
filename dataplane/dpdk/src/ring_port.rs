//! Devices made of rings: a port whose wire is memory. For the demo, for tests and for measuring without a NIC.
//!
//! Nothing is copied: the mbuf that one side sends is the one that the other receives, tag, flags, port number and all.

use std::ffi::CString;
use std::sync::Arc;

use crate::eal::EalInner;
use crate::error::{Errno, RingError};
use crate::port::find_id;
use crate::ring::RawRing;
use crate::{Consumer, Eal, Producer, ring};

/// Makes a device that receives from `rx` and sends to `tx`, one queue a ring, and returns its name for
/// [`Port::find`](crate::Port::find). The other ends are the caller's, to be the network.
///
/// The rings live until the device is closed and the caller's ends are dropped.
pub fn ring_port(eal: &Eal, name: &str, rx: Vec<Consumer>, tx: Vec<Producer>) -> Result<String, RingError> {
    let rx = rx.into_iter().map(Consumer::into_ring).collect();
    let tx = tx.into_iter().map(Producer::into_ring).collect();
    make(&eal.inner, name, rx, tx)
}

/// Makes two devices joined by a wire, with `queues` queues each: what one sends on queue i the other receives on
/// queue i, up to `size` packets under way. Returns their names for [`Port::find`](crate::Port::find).
pub fn wire(eal: &Eal, name_a: &str, name_b: &str, queues: u16, size: u32) -> Result<(String, String), RingError> {
    let (mut a_rx, mut a_tx, mut b_rx, mut b_tx) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for queue in 0..queues {
        let (producer, consumer) = ring(eal, &format!("{name_a}_{queue}"), size)?;
        a_tx.push(producer);
        b_rx.push(consumer);
        let (producer, consumer) = ring(eal, &format!("{name_b}_{queue}"), size)?;
        b_tx.push(producer);
        a_rx.push(consumer);
    }
    Ok((ring_port(eal, name_a, a_rx, a_tx)?, ring_port(eal, name_b, b_rx, b_tx)?))
}

fn make(eal: &Arc<EalInner>, name: &str, rx: Vec<Arc<RawRing>>, tx: Vec<Arc<RawRing>>) -> Result<String, RingError> {
    let failed = |errno| RingError::Device { name: name.into(), errno };
    let c_name = CString::new(name).map_err(|_| RingError::Name(name.into()))?;
    let pointers = |rings: &[Arc<RawRing>]| rings.iter().map(|ring| ring.as_ptr()).collect::<Vec<_>>();
    let count = |rings: &[Arc<RawRing>]| u32::try_from(rings.len()).unwrap_or(u32::MAX);
    let (rx_pointers, tx_pointers) = (pointers(&rx), pointers(&tx));
    let mut devices = eal.devices();
    // SAFETY: DPDK copies both arrays, whose lengths are given, and the name. The rings stay alive until the device is
    // closed (`devices` keeps them), and each has one producer and one consumer: the ends given up for this were the only
    // ones.
    let port = unsafe {
        dpdk_sys::rte_eth_from_rings(
            c_name.as_ptr(),
            rx_pointers.as_ptr(),
            count(&rx),
            tx_pointers.as_ptr(),
            count(&tx),
            0, // The NUMA node of the device's own small structures.
        )
    };
    let Ok(port) = u16::try_from(port) else { return Err(failed(Errno::last())) };
    devices.made.insert(port, rx.into_iter().chain(tx).collect());
    let device = format!("net_ring_{name}"); // So DPDK calls it.
    match find_id(&device) {
        Ok(Some(found)) if found == port => Ok(device),
        _ => Err(failed(Errno::NotFound)),
    }
}
