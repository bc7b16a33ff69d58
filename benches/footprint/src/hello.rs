//! One of the hello-worlds: builds it from nothing, counts its packages, weighs its binaries. It does not know the others.

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

/// The number of futures that `examples/further.rs` spawns and the hello-world does not.
const FURTHER_TYPES: u64 = 16;

/// How it is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
    /// `release`, and optimized as a whole.
    Lto,
    /// `lto`, for size, and without unwinding.
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

/// What a build took.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) profile: Profile,
    /// Seconds on the wall's clock.
    pub(crate) wall: f64,
    /// Seconds of all cores together.
    pub(crate) cpu: f64,
}

/// The size of a stripped program.
#[derive(Clone, Copy, Default)]
pub(crate) struct Size {
    /// Bytes of the file.
    pub(crate) file: u64,
    /// Bytes of its sections that are loaded: code, constants, relocations, tables for unwinding.
    pub(crate) loaded: u64,
}

/// A program, and what was found about it.
pub(crate) struct Hello {
    pub(crate) name: &'static str,
    /// The runtime's version, as the lock file has it.
    pub(crate) version: String,
    /// The packages that are built, without the program itself.
    pub(crate) packages: BTreeSet<String>,
    pub(crate) builds: Vec<Build>,
    /// In the profiles `release`, `lto` and `small`.
    pub(crate) sizes: [Size; 3],
    /// Loaded bytes of `release` for each further type of future that is spawned.
    pub(crate) further: u64,
    /// Bytes on the heap of an idle loop, and of a task that waits.
    pub(crate) idle: u64,
    pub(crate) task: u64,
    folder: PathBuf,
    target: PathBuf,
}

impl Hello {
    /// Sees that nothing needs to be downloaded any more, and looks at what it depends on.
    pub(crate) fn find(name: &'static str) -> Result<Hello> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = package.join("hello").join(name);
        cargo(&folder, &["fetch", "--locked"])?;
        let tree = cargo(
            &folder,
            &["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"],
        )?;
        // `smol v2.0.2`, and for a package in a folder `onelane v0.1.0 (/the/folder)`. The first is the program itself.
        let packages: BTreeSet<String> =
            tree.lines().skip(1).map(|line| line.split(" (").next().unwrap_or(line).into()).collect();
        let runtime = if name == "minimal" { "onelane" } else { name };
        let version = packages.iter().find_map(|line| line.strip_prefix(runtime)?.strip_prefix(" v"));
        let version = version.unwrap_or_default().to_string();
        ensure!(name == "empty" || !version.is_empty(), "cargo tree shows no {runtime}:\n{tree}");
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

    /// Builds it from nothing, and lets it say hello.
    pub(crate) fn build_cold(&mut self, profile: Profile) -> Result<()> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target)?;
        }
        let (cpu, wall) = (cpu_of_children()?, Instant::now());
        self.build(profile, &[])?;
        self.builds.push(Build { profile, wall: wall.elapsed().as_secs_f64(), cpu: cpu_of_children()? - cpu });
        self.run_hello(profile)
    }

    /// Finds sizes and memory.
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
            let (idle, task) = said.trim().split_once(' ').with_context(|| format!("no two numbers: {said}"))?;
            (self.idle, self.task) = (idle.parse()?, task.parse()?);
        }
        Ok(())
    }

    fn build(&self, profile: Profile, what: &[&str]) -> Result<()> {
        let target = self.target.to_str().context("the path is no text")?;
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
        ensure!(said == "hello\n", "{} was to say hello, and said {said:?}", self.name);
        Ok(())
    }

    /// The median of its builds in that profile, if there were any.
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
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(&*bytes).context("sizes are read from ELF files only")?;
    let endian = file.endian();
    let is_loaded = |flags: u64, kind: u32| flags & u64::from(elf::SHF_ALLOC) != 0 && kind != elf::SHT_NOBITS;
    let sections = file.elf_section_table().iter();
    let loaded = sections.filter(|section| is_loaded(section.sh_flags(endian), section.sh_type(endian)));
    Ok(Size { file: bytes.len() as u64, loaded: loaded.map(|section| section.sh_size(endian)).sum() })
}

/// Runs cargo in the folder and gives what it printed.
fn cargo(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What was set for this program is not for those: cargo tells the programs that it runs of their own package.
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_PKG_", "CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_ENCODED_"];
        let is_ours = name.to_str().is_some_and(|name| ours.iter().any(|start| name.starts_with(start)));
        if is_ours {
            command.env_remove(name);
        }
    }
    // The programs hold the names of source files, so the path of the checkout must not add to their size.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        // No cache of compiled crates.
        .env("RUSTC_WRAPPER", "")
        // As cargo does by itself for packages from crates.io.
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", format!("--cap-lints=allow --remap-path-prefix={}=/onelane", root.display()))
        .output()
        .context("starting cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed in {}:\n{errors}", arguments.join(" "), folder.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// CPU seconds of all processes that this one has started and waited for, and of theirs.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
