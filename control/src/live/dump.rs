//! A dump of a table: each worker is asked, its rows are passed on as they come, and it waits for whoever reads slowly
//! without noticing.

use super::json;
use crate::api::protocol::Line as Said;
use crate::tunnels::{Tunnel, Tunnels};
use dataplane::orders::{Filter, Line, Order, Row, Table};
use dataplane::passthrough::show;
use std::sync::Arc;

/// Rows that are thrown away in a turn when nobody wants them any more.
const DRAINED: usize = 65_536;

/// What somebody asked for.
#[derive(Debug)]
pub(crate) struct Request {
    number: u64,
    table: Table,
    filter: Filter,
    /// Rows passed on.
    told: u64,
    /// Tunnels are few, and are told in order, with what their legs carried at other workers.
    tunnels: Vec<show::Row>,
    lent: Vec<show::Traffic>,
}

impl Request {
    pub(super) const fn new(number: u64, table: Table, filter: Filter) -> Self {
        Self { number, table, filter, told: 0, tunnels: Vec::new(), lent: Vec::new() }
    }
}

/// The one that goes on.
#[derive(Debug)]
pub(super) struct Dump {
    number: u64,
    /// To be posted yet, for each worker.
    orders: Vec<Option<(Table, Filter)>>,
    ended: Vec<bool>,
    abandoned: bool,
}

impl Dump {
    pub(super) fn begin(request: &Request, workers: usize) -> Self {
        Self {
            number: request.number,
            orders: vec![Some((request.table, request.filter)); workers],
            ended: vec![false; workers],
            abandoned: false,
        }
    }

    pub(super) const fn is_of(&self, request: &Request) -> bool {
        self.number == request.number && !self.abandoned
    }

    pub(super) const fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Gives orders that found no room; throws away what nobody wants.
    pub(super) fn turn(&mut self, lines: &[Arc<Line>]) {
        for (line, order) in lines.iter().zip(&mut self.orders) {
            if let Some((table, filter)) = *order
                && line.post(Order::Dump(table, filter)).is_ok()
            {
                *order = None;
            }
        }
        if self.abandoned {
            for (line, ended) in lines.iter().zip(&mut self.ended) {
                for row in std::iter::from_fn(|| line.row()).take(DRAINED) {
                    *ended |= matches!(row, Row::End);
                }
            }
        }
    }

    /// Whether an abandoned dump has come to its end, so that the next may begin.
    pub(super) fn is_drained(&self) -> bool {
        self.abandoned && self.ended.iter().all(|e| *e)
    }

    /// Passes rows on until `output` is full. The number of rows once all are told.
    pub(super) fn go_on(
        &mut self,
        request: &mut Request,
        lines: &[Arc<Line>],
        output: &mut Vec<u8>,
        full: usize,
    ) -> Option<u64> {
        self.turn(lines);
        for (line, ended) in lines.iter().zip(&mut self.ended) {
            while !*ended && output.len() < full {
                let Some(row) = line.row() else { break };
                match row {
                    Row::End => {
                        *ended = true;
                        continue;
                    }
                    Row::Tunnel(tunnel) => {
                        request.tunnels.push(tunnel);
                        continue;
                    }
                    Row::Lent(traffic) => {
                        request.lent.push(traffic);
                        continue;
                    }
                    Row::Session(s) => Said::Row(json::Session::from(s)).write(output),
                    Row::Mapping(m) => Said::Row(json::Mapping::from(m)).write(output),
                    Row::Subscriber(s) => Said::Row(json::Subscriber::from(s)).write(output),
                }
                request.told += 1;
            }
        }
        if !self.ended.iter().all(|e| *e) {
            return None;
        }
        // A table of tunnels is small beside the others: it is told at once.
        let mut rows = std::mem::take(&mut request.tunnels);
        show::merge(&mut rows, request.lent.drain(..));
        for tunnel in Tunnels::sorted(rows.into_iter().map(Tunnel::from).collect()).0 {
            Said::Row(tunnel).write(output);
            request.told += 1;
        }
        Some(request.told)
    }
}
