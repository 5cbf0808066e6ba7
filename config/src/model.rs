//! The model: a configuration that holds together. One constructor, which reads every section before it checks across them.

use toml::Spanned;
use toml::de::DeTable;

use crate::check;
use crate::control::{self, Control};
use crate::diagnostic::{Diagnostic, Located, Location, Severity};
use crate::document::Document;
use crate::firewall::{self, Firewall};
use crate::link::{self, Neighbour, PortIndex, Route};
use crate::nat::{self, Nat};
use crate::passthrough::{self, Passthrough};
use crate::port::{self, Port, Role};
use crate::runtime::{self, Runtime};
use crate::table::Table;

/// A model, and what its author may want to look at again.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The configuration.
    pub model: Model,
    /// What works, but may not be what was meant; in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// A configuration in which every value is in its range and every address belongs somewhere.
///
/// Two are equal when they mean the same, wherever in their files the values stand.
#[derive(Debug, Clone)]
pub struct Model {
    file: String,
    runtime: Runtime,
    ports: Vec<Located<Port>>,
    neighbours: Vec<Located<Neighbour>>,
    routes: Vec<Located<Route>>,
    nat: Nat,
    passthrough: Passthrough,
    firewall: Firewall,
    control: Control,
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.runtime == other.runtime
            && self.ports == other.ports
            && self.neighbours == other.neighbours
            && self.routes == other.routes
            && self.nat == other.nat
            && self.passthrough == other.passthrough
            && self.firewall == other.firewall
            && self.control == other.control
    }
}

impl Model {
    /// The name of the file, as the caller gave it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How the process runs.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The ports in the order of the file: 2 to 16, at least one on each side.
    pub fn ports(&self) -> &[Located<Port>] {
        &self.ports
    }

    /// The port at `index`: always there for an index out of this model.
    pub fn port(&self, index: PortIndex) -> Option<&Located<Port>> {
        self.ports.get(index.get())
    }

    /// The ports that face `role`, with their index.
    pub fn ports_facing(&self, role: Role) -> impl Iterator<Item = (PortIndex, &Located<Port>)> {
        self.ports
            .iter()
            .enumerate()
            .filter(move |(_, port)| port.role == role)
            .map(|(index, port)| (PortIndex(index), port))
    }

    /// The static ARP entries.
    pub fn neighbours(&self) -> &[Located<Neighbour>] {
        &self.neighbours
    }

    /// The networks behind routers. The default route is not among them; it is a port's `gateway`.
    pub fn routes(&self) -> &[Located<Route>] {
        &self.routes
    }

    /// How addresses are translated.
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// What passes of VPNs.
    pub fn passthrough(&self) -> &Passthrough {
        &self.passthrough
    }

    /// What may come in unasked.
    pub fn firewall(&self) -> &Firewall {
        &self.firewall
    }

    /// How an operator's tools reach the process.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// A diagnostic on a value of this model, for what only the machine can tell: that a device does not exist, say.
    /// `remedy` is a sentence that begins with a verb. The key is the location's own.
    pub fn diagnostic(
        &self,
        location: &Location,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostic {
        location.diagnostic(&self.file, severity, message, remedy)
    }
}

/// Reads and checks `tree`. None when something that the model needs is missing; what is wrong is in `document`, and a
/// model comes with it when it is only in places that have a default.
pub(crate) fn read(document: &Document<'_>, tree: &Spanned<DeTable<'_>>) -> Option<Model> {
    let mut root = Table::root(document, tree);
    let runtime = runtime::read(root.table("runtime"));
    let (ports, ports_complete) = port::read_all(document, &mut root);
    let neighbours = link::read_neighbours(&mut root);
    let (routes, routes_complete) = link::read_routes(&mut root);
    let mut nat = nat::read(document, root.table("nat"));
    let passthrough = passthrough::read(document, root.table("passthrough"));
    let allow = firewall::read(root.table("firewall"));
    let control = control::read(root.table("control"));
    root.finish();

    let links = check::Links::new(document, &ports, ports_complete);
    let neighbours = check::neighbours(document, &links, neighbours);
    let written = routes.len();
    let routes = check::routes(document, &links, routes);
    let routes_complete = routes_complete && routes.len() == written;
    let subscribers = check::Subscribers::new(&links, &routes, routes_complete);
    let pool = check::Pool::new(document, &links, &neighbours, &nat.pool);
    let forwards = check::forwards(document, &links, &pool, &subscribers, &nat);
    let statics = check::statics(document, &links, &pool, &subscribers, &nat);
    check::one_or_the_other(document, &forwards, &statics);
    let allow = check::allow(document, &nat, &forwards, &statics, allow);
    check::carried(document, &passthrough, &nat, &allow);

    nat.nat.pool = pool.ranges();
    nat.nat.forwards = forwards;
    nat.nat.statics = statics;
    Some(Model {
        file: document.name().to_owned(),
        runtime,
        ports: ports.into_iter().map(port::Draft::finish).collect::<Option<_>>()?,
        neighbours,
        routes,
        nat: nat.nat,
        passthrough,
        firewall: Firewall { allow },
        control,
    })
}
