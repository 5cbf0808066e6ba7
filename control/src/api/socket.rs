//! The socket's path: one process owns it, and who may connect.
//!
//! The owner holds a lock on `PATH.lock` for as long as it lives, so a socket that lies there without a lock is a stale
//! one of a process that was killed, and is replaced. The socket is made under another name, given its mode and group, and
//! renamed, so nobody can connect before it has them.

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group, Uid, User, chown, geteuid};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that this process owns. It is removed with the value.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    access: Access,
    _lock: Flock<File>,
}

/// Who may use it: the process's own user and root, and by the mode its group and others.
#[derive(Clone, Copy, Debug)]
struct Access {
    mode: u32,
    group: Gid,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) pid: i32,
    pub(crate) uid: Uid,
    gid: Gid,
}

impl Owned {
    /// Takes the path, with these permission bits and this group.
    pub(crate) fn claim(path: &Path, mode: u32, group: Option<&str>) -> anyhow::Result<Self> {
        let group = match group {
            Some(name) => find_group(name)?,
            None => nix::unistd::getegid(),
        };
        let shown = path.display();
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            let made = fs::DirBuilder::new().mode(0o755).create(folder);
            made.with_context(|| format!("cannot make {} for the control socket", folder.display()))?;
        }
        let lock_path = beside(path, "lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let file = file.with_context(|| format!("cannot open {}", lock_path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!(
                "another underpass owns the control socket {shown}; stop it, or give this one its own in control.socket"
            );
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                bail!("{shown} is there and is no socket; remove it, or set control.socket to another path");
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                bail!("another program listens at {shown}; stop it, or set control.socket to another path");
            }
            Ok(_) | Err(_) => {}
        }
        let making = beside(path, "new");
        let _ = fs::remove_file(&making);
        let listener =
            UnixListener::bind(&making).with_context(|| format!("cannot make the control socket {shown}"))?;
        let settled = fs::set_permissions(&making, fs::Permissions::from_mode(mode))
            .context("cannot set the control socket's mode")
            .and_then(|()| match chown(&making, None, Some(group)) {
                Ok(()) => Ok(()),
                Err(e) => Err(e).with_context(|| format!("cannot give the control socket to group {group}")),
            })
            .and_then(|()| {
                fs::rename(&making, path).with_context(|| format!("cannot put the control socket at {shown}"))
            });
        if let Err(error) = settled {
            let _ = fs::remove_file(&making);
            return Err(error);
        }
        listener.set_nonblocking(true).context("cannot use the control socket")?;
        Ok(Self { listener, path: path.to_owned(), access: Access { mode, group }, _lock: lock })
    }

    /// Who connected; `None` where the system cannot say.
    pub(crate) fn peer(stream: &UnixStream) -> Option<Peer> {
        let c = getsockopt(&stream.as_fd(), PeerCredentials).ok()?;
        Some(Peer { pid: c.pid(), uid: Uid::from_raw(c.uid()), gid: Gid::from_raw(c.gid()) })
    }

    /// Whether it may ask for anything: the file's mode has let it in, and this holds for a socket that was passed on, too.
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
        let Access { mode, group } = self.access;
        peer.uid.is_root()
            || peer.uid == geteuid()
            || mode & 0o006 == 0o006
            || (mode & 0o060 == 0o060 && (peer.gid == group || is_member(peer, group)))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // The lock file stays: removed, a process that has just opened it would lock what nobody else sees.
    }
}

/// The same path with another ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn find_group(name: &str) -> anyhow::Result<Gid> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name).context("cannot look groups up")? {
        Some(group) => Ok(group.gid),
        None => bail!("there is no group {name}; make it (groupadd {name}), or change control.group"),
    }
}

fn is_member(peer: &Peer, group: Gid) -> bool {
    let Ok(Some(user)) = User::from_uid(peer.uid) else { return false };
    let Ok(name) = std::ffi::CString::new(user.name) else { return false };
    nix::unistd::getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}
