#include "shim.h"

#include <stddef.h>

#include <rte_prefetch.h>
#include <rte_thash.h>

#define SAME_PLACE(field)                                                                                              \
	_Static_assert(offsetof(struct shim_mbuf, field) == offsetof(struct rte_mbuf, field) &&                        \
			       sizeof(((struct shim_mbuf *)0)->field) == sizeof(((struct rte_mbuf *)0)->field),        \
		       "this DPDK has moved rte_mbuf." #field ": adapt struct shim_mbuf in shim.h")

SAME_PLACE(buf_addr);
SAME_PLACE(data_off);
SAME_PLACE(refcnt);
SAME_PLACE(nb_segs);
SAME_PLACE(port);
SAME_PLACE(ol_flags);
SAME_PLACE(packet_type);
SAME_PLACE(pkt_len);
SAME_PLACE(data_len);
SAME_PLACE(vlan_tci);
SAME_PLACE(hash);
SAME_PLACE(vlan_tci_outer);
SAME_PLACE(buf_len);
SAME_PLACE(pool);
SAME_PLACE(next);
_Static_assert(sizeof(struct shim_mbuf) == sizeof(struct rte_mbuf), "this DPDK's rte_mbuf has another size");

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t shim_rdtsc(void)
{
	return rte_rdtsc();
}

void shim_prefetch(const void *address)
{
	rte_prefetch0(address);
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t room)
{
	return rte_eth_rx_burst(port, queue, mbufs, room);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

int shim_link_get(uint16_t port, struct shim_link *out)
{
	struct rte_eth_link link = {0};
	int result = rte_eth_link_get_nowait(port, &link);

	out->speed_mbps = link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return result;
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int shim_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

void shim_mempool_flush_cache(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

unsigned int shim_mempool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

unsigned int shim_ring_enqueue_sp(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned int count)
{
	return rte_ring_sp_enqueue_burst(ring, (void *const *)mbufs, count, NULL);
}

unsigned int shim_ring_dequeue_sc(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int room)
{
	return rte_ring_sc_dequeue_burst(ring, (void **)mbufs, room, NULL);
}

unsigned int shim_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

unsigned int shim_ring_capacity(const struct rte_ring *ring)
{
	return rte_ring_get_capacity(ring);
}

uint32_t shim_softrss(const uint32_t *words, uint32_t count, const uint8_t *key)
{
	/* DPDK's parameter lacks the const; it only reads. */
	return rte_softrss((uint32_t *)(uintptr_t)words, count, key);
}
