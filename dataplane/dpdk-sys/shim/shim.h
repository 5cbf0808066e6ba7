/*
 * What Rust cannot get from DPDK's headers by itself: static inline functions, macros that compute, and a view of
 * struct rte_mbuf with plain fields. Nothing here decides anything; each function is one call.
 */
#ifndef UNDERPASS_DPDK_SHIM_H
#define UNDERPASS_DPDK_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/*
 * The fields of struct rte_mbuf that Rust reads and writes, by name and without the anonymous unions that DPDK
 * regroups from one release to the next. shim.c asserts every offset against the DPDK it is compiled with.
 */
struct shim_mbuf {
	uint8_t *buf_addr;
#if RTE_IOVA_AS_PA
	uint64_t buf_iova;
#else
	struct shim_mbuf *next;
#endif
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t hash[2];
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	struct rte_mempool *pool;
#if RTE_IOVA_AS_PA
	struct shim_mbuf *next;
#else
	uint64_t dynfield2;
#endif
	uint64_t rest[7];
};

static const uint64_t SHIM_MBUF_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t SHIM_MBUF_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t SHIM_MBUF_EXTERNAL = RTE_MBUF_F_EXTERNAL;
static const uint32_t SHIM_LCORE_ID_ANY = LCORE_ID_ANY;

static const uint64_t SHIM_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t SHIM_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t SHIM_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t SHIM_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t SHIM_RSS_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t SHIM_RSS_IPV4_OTHER = RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t SHIM_RSS_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t SHIM_RSS_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t SHIM_RSS_ESP = RTE_ETH_RSS_ESP;
static const uint64_t SHIM_RSS_AH = RTE_ETH_RSS_AH;
static const uint64_t SHIM_RSS_L2TPV3 = RTE_ETH_RSS_L2TPV3;
/* By number, for bindgen cannot tell a constant with bit 63. */
static const uint32_t SHIM_RSS_L3_SRC_ONLY_BIT = __builtin_ctzll(RTE_ETH_RSS_L3_SRC_ONLY);
static const uint32_t SHIM_RSS_L3_DST_ONLY_BIT = __builtin_ctzll(RTE_ETH_RSS_L3_DST_ONLY);
static const uint32_t SHIM_RSS_L4_SRC_ONLY_BIT = __builtin_ctzll(RTE_ETH_RSS_L4_SRC_ONLY);
static const uint32_t SHIM_RSS_L4_DST_ONLY_BIT = __builtin_ctzll(RTE_ETH_RSS_L4_DST_ONLY);

struct shim_link {
	uint32_t speed_mbps;
	bool up;
	bool full_duplex;
};

/* Errors and threads. */
int shim_errno(void);
uint32_t shim_lcore_id(void);
uint64_t shim_rdtsc(void);
void shim_prefetch(const void *address);

/* Queues. */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int shim_link_get(uint16_t port, struct shim_link *out);

/* Packets. */
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void shim_mbuf_free(struct rte_mbuf *mbuf);
int shim_mbuf_linearize(struct rte_mbuf *mbuf);
int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

/* Gives what the calling thread's cache holds back to the pool. */
void shim_mempool_flush_cache(struct rte_mempool *pool);
unsigned int shim_mempool_size(const struct rte_mempool *pool);

/* Rings with one producer and one consumer. */
unsigned int shim_ring_enqueue_sp(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned int count);
unsigned int shim_ring_dequeue_sc(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int room);
unsigned int shim_ring_count(const struct rte_ring *ring);
unsigned int shim_ring_capacity(const struct rte_ring *ring);

/* Toeplitz over 32-bit words in host order, as DPDK computes it. */
uint32_t shim_softrss(const uint32_t *words, uint32_t count, const uint8_t *key);

#endif
