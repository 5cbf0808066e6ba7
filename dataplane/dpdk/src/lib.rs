//! Safe wrappers of what Underpass uses of DPDK; knows nothing of NAT
