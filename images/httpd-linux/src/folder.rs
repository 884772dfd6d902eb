//! Content from a folder: loaded at the start, then looked at by a thread of its own, which hands over what changed.
//!
//! Requests never touch the folder, so no path of theirs leads out of it. A link that does is followed: whoever may
//! write into the folder decides what is served. Names that begin with a dot are passed over.

use nom_httpd::Site;
use nom_httpd::archive::{Loose, gather};
use nom_httpd::site::{CONTENT_MAX, File, PATHS_MAX};
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// Folders within folders.
const DEPTH_MAX: usize = 32;
/// Changes that wait to be taken over; the thread waits with further ones.
const CHANGES_MAX: usize = 64;
/// Most files, compressed forms included.
const FILES_MAX: usize = 3 * PATHS_MAX;

/// By what a changed file is told: length, time of change, which file it is.
type Stamp = (u64, i64, i64, u64);

/// What is there: paths as requests name them, and their stamps.
type Seen = BTreeMap<String, (PathBuf, Stamp)>;

/// A folder.
pub struct Folder {
    root: PathBuf,
    seen: Seen,
}

/// Something that changed.
enum Change {
    Put(String, File),
    Remove(String),
}

/// A folder that is watched.
pub struct Watched {
    changes: Receiver<Change>,
    some: Arc<AtomicBool>,
}

impl Folder {
    /// Looks into it for the first time.
    pub fn open(root: PathBuf) -> Result<Self, String> {
        let mut seen = Seen::new();
        look(&root, "", 0, &mut seen)?;
        Ok(Self { root, seen })
    }

    /// Puts everything into a site. Nothing of it may be missing at the start.
    pub fn first(&self, site: &mut Site) -> Result<(), String> {
        let files = self
            .seen
            .iter()
            .map(|(path, (file, _))| Ok(loose(path, file)?.0))
            .collect::<Result<Vec<_>, String>>()?;
        for (path, file) in gather(files) {
            site.put(&path, file).map_err(|refused| format!("{}{path}: {refused}", self.root.display()))?;
        }
        Ok(())
    }

    /// Begins to watch it.
    pub fn watch(self) -> Result<Watched, String> {
        let (to, changes) = sync_channel(CHANGES_MAX);
        let some = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&some);
        thread::Builder::new()
            .name("content".into())
            .spawn(move || self.follow(&to, &signal))
            .map_err(|error| format!("no thread to watch the content: {error}"))?;
        Ok(Watched { changes, some })
    }

    /// Until nobody wants to know any more.
    fn follow(mut self, to: &SyncSender<Change>, signal: &AtomicBool) {
        let mut failed = false;
        loop {
            thread::sleep(EVERY);
            let mut now = Seen::new();
            match look(&self.root, "", 0, &mut now) {
                Ok(()) => failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        eprintln!("nom-httpd-linux: {error}; what was read before is served on");
                    }
                    continue;
                }
            }
            for path in changed(&self.seen, &now) {
                let change = read(&path, &now);
                let told = change.map(|change| {
                    let sent = to.send(change).is_ok();
                    signal.store(true, Ordering::Release);
                    sent
                });
                match told {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        eprintln!("nom-httpd-linux: {error}; looked at again soon");
                        // As if it had not been seen.
                        for ending in ["", ".gz", ".br"] {
                            now.remove(&[&path, ending].concat());
                        }
                    }
                }
            }
            self.seen = now;
        }
    }
}

impl Watched {
    /// Whether there is something to take over.
    #[inline]
    pub fn has_changes(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Takes it over.
    pub fn apply(&self, site: &mut Site) {
        self.some.store(false, Ordering::Release);
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Put(path, file) => {
                    if let Err(refused) = site.put(&path, file) {
                        eprintln!("nom-httpd-linux: {path} stays as it was: {refused}");
                    }
                }
                Change::Remove(path) => {
                    site.remove(&path);
                }
            }
        }
    }
}

/// The path that a file belongs to: without the ending of a compressed form, where the plain one is there.
fn belongs<'a>(path: &'a str, seen: &Seen) -> &'a str {
    let plain = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".br"));
    plain.filter(|plain| seen.contains_key(*plain)).unwrap_or(path)
}

/// Paths of which something is other than before.
fn changed(before: &Seen, now: &Seen) -> BTreeSet<String> {
    let stamp = |seen: &Seen, path: &str| seen.get(path).map(|(_, stamp)| *stamp);
    let mut paths = BTreeSet::new();
    for path in before.keys().chain(now.keys()) {
        if stamp(before, path) != stamp(now, path) {
            // A form may have belonged to another path before.
            paths.insert(belongs(path, before).to_string());
            paths.insert(belongs(path, now).to_string());
            paths.insert(path.clone());
        }
    }
    // A compressed form that belongs to a plain file has no path of its own, and had one at most before.
    paths
}

/// What became of a path.
fn read(path: &str, now: &Seen) -> Result<Change, String> {
    if !now.contains_key(path) || belongs(path, now) != path {
        return Ok(Change::Remove(path.into()));
    }
    let mut files = Vec::new();
    for ending in ["", ".gz", ".br"] {
        let form = [path, ending].concat();
        if let Some((file, before)) = now.get(&form) {
            let (loose, after) = loose(&form, file)?;
            if after != *before {
                return Err(format!("{} changes while it is read", file.display()));
            }
            files.push(loose);
        }
    }
    match gather(files).into_iter().next() {
        Some((path, file)) => Ok(Change::Put(path, file)),
        None => Ok(Change::Remove(path.into())),
    }
}

/// Reads a file, and says by what it is told once it was read. Something else may stand there by now: it is looked at what was
/// opened, and the opening of a pipe that nobody writes into does not wait.
fn loose(path: &str, file: &Path) -> Result<(Loose, Stamp), String> {
    let at = |error: std::io::Error| format!("{}: {error}", file.display());
    let flags = OFlags::NONBLOCK.bits() as i32;
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(file).map_err(at)?;
    let before = opened.metadata().map_err(at)?;
    if !before.is_file() {
        return Err(format!("{}: no file any more", file.display()));
    }
    small_enough(file, &before)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(before.len() as usize).map_err(|error| at(error.into()))?;
    // Of one that grows meanwhile as much as there was: its stamp is another one then.
    (&opened).take(before.len()).read_to_end(&mut bytes).map_err(at)?;
    let known = opened.metadata().map_err(at)?;
    let modified_s = u64::try_from(known.mtime()).unwrap_or(0);
    Ok((Loose { path: path.into(), bytes: bytes.into(), modified_s }, stamp(&known)))
}

fn small_enough(file: &Path, known: &fs::Metadata) -> Result<(), String> {
    match known.len() >= CONTENT_MAX as u64 {
        true => Err(format!("{}: larger than {CONTENT_MAX} bytes", file.display())),
        false => Ok(()),
    }
}

fn stamp(known: &fs::Metadata) -> Stamp {
    (known.len(), known.mtime(), known.mtime_nsec(), known.ino())
}

/// Lists what is in a folder and the folders in it.
fn look(folder: &Path, path: &str, depth: usize, seen: &mut Seen) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    if depth > DEPTH_MAX {
        return Err(format!(
            "{}: more than {DEPTH_MAX} folders within each other; is a link going around?",
            folder.display()
        ));
    }
    for entry in fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(format!(
                "{}: a name that is not UTF-8 cannot be asked for; rename it",
                entry.path().display()
            ));
        };
        if name.starts_with('.') {
            continue;
        }
        let own = format!("{path}/{name}");
        // What disappeared meanwhile was not there; a link to nowhere is nothing.
        let Ok(known) = fs::metadata(entry.path()) else { continue };
        if known.is_dir() {
            look(&entry.path(), &own, depth + 1, seen)?;
        } else if known.is_file() {
            small_enough(&entry.path(), &known)?;
            if seen.len() == FILES_MAX {
                return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
            }
            seen.insert(own, (entry.path(), stamp(&known)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::env::temp_dir;
    use std::process;

    /// A folder that goes away with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let root = temp_dir().join(format!("nom-httpd-folder-{}-{name}", process::id()));
            fs::create_dir(&root).unwrap();
            Self(root)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Why a path cannot be read. Whoever waits for a pipe's writer is not waited for.
    fn wrong(path: &'static str, seen: &Seen) -> String {
        let (tell, told) = sync_channel(1);
        let seen = seen.clone();
        thread::spawn(move || tell.send(read(path, &seen).err()));
        let told = told.recv_timeout(Duration::from_secs(60)).expect("it waits for somebody");
        told.unwrap_or_else(|| panic!("{path} was read"))
    }

    /// Whatever stands where a file was when it was looked at.
    #[test]
    fn what_is_no_file_any_more_is_said_and_waits_for_nobody() {
        let place = Place::new("swapped");
        let file = |name: &str| place.0.join(name);
        for name in ["pipe", "folder", "gone", "other", "longer", "same"] {
            fs::write(file(name), name).unwrap();
        }
        let folder = Folder::open(place.0.clone()).unwrap();
        for name in ["pipe", "folder", "gone"] {
            fs::remove_file(file(name)).unwrap();
        }
        mknodat(CWD, file("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::create_dir(file("folder")).unwrap();
        fs::write(file("new"), "other").unwrap();
        fs::rename(file("new"), file("other")).unwrap();
        fs::write(file("longer"), "longer than it was").unwrap();
        for (path, why) in [
            ("/pipe", "no file any more"),
            ("/folder", "no file any more"),
            ("/gone", "No such file"),
            ("/other", "changes while it is read"),
            ("/longer", "changes while it is read"),
        ] {
            let said = wrong(path, &folder.seen);
            assert!(said.contains(why) && said.contains(&place.0.display().to_string()), "{path}: {said}");
        }
        match read("/same", &folder.seen) {
            Ok(Change::Put(path, _)) => assert_eq!(path, "/same"),
            _ => panic!("what is as it was is read"),
        }
        // At the start nothing may be missing; the folder comes first.
        let mut site = Site::new(1 << 20, true, true, 1024);
        let missing = folder.first(&mut site).unwrap_err();
        assert!(missing.contains("folder: no file any more"), "{missing}");
    }
}
