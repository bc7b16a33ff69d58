//! One hello-world: builds it from nothing, counts its packages, and measures its binaries. It does
//! not know the other programs.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{Endianness, elf};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Number of types of futures that `examples/further.rs` spawns and the hello-world does not.
const FURTHER_TYPES: u64 = 16;

/// A build profile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
    /// `release`, with link-time optimization and one codegen unit.
    Lto,
    /// `lto`, optimized for size, without unwinding.
    Small,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
            Profile::Lto => "lto",
            Profile::Small => "small",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Profile::Debug => &[],
            Profile::Release => &["--release"],
            Profile::Lto => &["--profile", "lto"],
            Profile::Small => &["--profile", "small"],
        }
    }
}

/// The time of one build.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) profile: Profile,
    /// Wall-clock time in seconds.
    pub(crate) wall: f64,
    /// CPU time in seconds, the sum over all cores.
    pub(crate) cpu: f64,
}

/// The size of a stripped program.
#[derive(Clone, Copy, Default)]
pub(crate) struct Size {
    /// Size of the file in bytes.
    pub(crate) file: u64,
    /// Total size of the sections that are loaded: code, constants, relocations, unwind tables.
    pub(crate) loaded: u64,
}

/// A program, and its measured figures.
pub(crate) struct Hello {
    pub(crate) name: &'static str,
    /// The runtime's version according to the lock file.
    pub(crate) version: String,
    /// The packages that are built, except the program itself.
    pub(crate) packages: BTreeSet<String>,
    pub(crate) builds: Vec<Build>,
    /// Sizes in the profiles `release`, `lto` and `small`.
    pub(crate) sizes: [Size; 3],
    /// Growth of the loaded bytes of `release` per additional type of spawned future.
    pub(crate) further: u64,
    /// Heap bytes of an idle loop, and of a waiting task.
    pub(crate) idle: u64,
    pub(crate) task: u64,
    folder: PathBuf,
    target: PathBuf,
}

impl Hello {
    /// Downloads what is missing, and lists the dependencies.
    pub(crate) fn find(name: &'static str) -> Result<Hello> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = package.join("hello").join(name);
        cargo(&folder, &["fetch", "--locked"])?;
        let tree = cargo(
            &folder,
            &["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"],
        )?;
        // A line is like `smol v2.0.2`, or `onelane v0.1.0 (/the/folder)` for a package in a
        // folder. The first line is the program itself.
        let packages: BTreeSet<String> =
            tree.lines().skip(1).map(|line| line.split(" (").next().unwrap_or(line).into()).collect();
        let runtime = if name == "minimal" { "onelane" } else { name };
        let version = packages.iter().find_map(|line| line.strip_prefix(runtime)?.strip_prefix(" v"));
        let version = version.unwrap_or_default().to_string();
        ensure!(name == "empty" || !version.is_empty(), "cargo tree does not list {runtime}:\n{tree}");
        let target = package.join("target/cold").join(name);
        let builds = Vec::new();
        Ok(Hello {
            name,
            version,
            packages,
            builds,
            sizes: Default::default(),
            further: 0,
            idle: 0,
            task: 0,
            folder,
            target,
        })
    }

    /// Builds the program from nothing, and runs it.
    pub(crate) fn build_cold(&mut self, profile: Profile) -> Result<()> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target)?;
        }
        let (cpu, wall) = (cpu_of_children()?, Instant::now());
        self.build(profile, &[])?;
        self.builds.push(Build { profile, wall: wall.elapsed().as_secs_f64(), cpu: cpu_of_children()? - cpu });
        self.run_hello(profile)
    }

    /// Measures sizes and memory.
    pub(crate) fn weigh(&mut self) -> Result<()> {
        for (nth, profile) in [Profile::Release, Profile::Lto, Profile::Small].into_iter().enumerate() {
            self.build(profile, &[])?;
            self.run_hello(profile)?;
            self.sizes[nth] = size(&self.program(profile))?;
        }
        if self.name != "empty" {
            self.build(Profile::Release, &["--examples"])?;
            let examples = self.target.join("release/examples");
            let further = size(&examples.join("further"))?.loaded;
            self.further = further.saturating_sub(self.sizes[0].loaded) / FURTHER_TYPES;
            let said = output(&examples.join("memory"))?;
            let (idle, task) =
                said.trim().split_once(' ').with_context(|| format!("expected two numbers, not {said}"))?;
            (self.idle, self.task) = (idle.parse()?, task.parse()?);
        }
        Ok(())
    }

    fn build(&self, profile: Profile, what: &[&str]) -> Result<()> {
        let target = self.target.to_str().context("the path is not valid UTF-8")?;
        let mut arguments = vec!["build", "--quiet", "--locked", "--offline", "--target-dir", target];
        arguments.extend(profile.arguments());
        arguments.extend(what);
        cargo(&self.folder, &arguments)?;
        Ok(())
    }

    fn program(&self, profile: Profile) -> PathBuf {
        self.target.join(profile.name()).join(format!("hello-{}", self.name))
    }

    fn run_hello(&self, profile: Profile) -> Result<()> {
        let said = output(&self.program(profile))?;
        ensure!(said == "hello\n", "{} should print \"hello\", but printed {said:?}", self.name);
        Ok(())
    }

    /// The median of its builds in this profile; `None` if there are no such builds.
    pub(crate) fn median(&self, profile: Profile, of: fn(&Build) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.builds.iter().filter(|build| build.profile == profile).map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }
}

fn output(program: &Path) -> Result<String> {
    let output = Command::new(program).output().with_context(|| format!("running {}", program.display()))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn size(program: &Path) -> Result<Size> {
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(&*bytes).context("only sizes of ELF files can be read")?;
    let endian = file.endian();
    let is_loaded = |flags: u64, kind: u32| flags & u64::from(elf::SHF_ALLOC) != 0 && kind != elf::SHT_NOBITS;
    let sections = file.elf_section_table().iter();
    let loaded = sections.filter(|section| is_loaded(section.sh_flags(endian), section.sh_type(endian)));
    Ok(Size { file: bytes.len() as u64, loaded: loaded.map(|section| section.sh_size(endian)).sum() })
}

/// Runs cargo in the folder, and returns what it printed.
fn cargo(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // cargo sets variables for this program. They must not affect the programs that we build.
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_ENCODED_"];
        let is_ours = name.to_str().is_some_and(|name| ours.iter().any(|start| name.starts_with(start)));
        if is_ours {
            command.env_remove(name);
        }
    }
    // Binaries contain the paths of source files, so the path of the checkout must not change their
    // size.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        // Do not use a cache of compiled crates.
        .env("RUSTC_WRAPPER", "")
        // cargo builds packages from crates.io without incremental compilation.
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", format!("--cap-lints=allow --remap-path-prefix={}=/onelane", root.display()))
        .output()
        .context("starting cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed in {}:\n{errors}", arguments.join(" "), folder.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// CPU seconds of all child processes that this process has waited for, and of their children.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
