//! One of the hello-worlds: builds it from nothing, counts its packages, weighs its binary. It does not know the others.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How it is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
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

/// A program, and what was found about it.
pub(crate) struct Hello {
    pub(crate) name: &'static str,
    /// The runtime's version, as the lock file has it.
    pub(crate) version: String,
    /// The packages that are built, without the program itself.
    pub(crate) packages: BTreeSet<String>,
    pub(crate) builds: Vec<Build>,
    /// Bytes of the stripped release binary. Zero until it was built.
    pub(crate) binary: u64,
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
        let version = packages
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" v"))
            .with_context(|| format!("cargo tree shows no {name}:\n{tree}"))?
            .into();
        let target = package.join("target/cold").join(name);
        Ok(Hello { name, version, packages, builds: Vec::new(), binary: 0, folder, target })
    }

    /// Builds it from nothing, and lets it say hello.
    pub(crate) fn build(&mut self, profile: Profile) -> Result<()> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target)?;
        }
        let target = self.target.to_str().context("the path is no text")?;
        let mut arguments = vec!["build", "--quiet", "--locked", "--offline", "--target-dir", target];
        if profile == Profile::Release {
            arguments.push("--release");
        }
        let (cpu, wall) = (cpu_of_children()?, Instant::now());
        cargo(&self.folder, &arguments)?;
        self.builds.push(Build { profile, wall: wall.elapsed().as_secs_f64(), cpu: cpu_of_children()? - cpu });

        let binary = self.target.join(profile.name()).join(format!("hello-{}", self.name));
        let said = Command::new(&binary).output().with_context(|| format!("running {}", binary.display()))?.stdout;
        ensure!(said == b"hello\n", "{} was to say hello, and said {said:?}", binary.display());
        if profile == Profile::Release {
            self.binary = fs::metadata(&binary)?.len();
        }
        Ok(())
    }

    /// The median of its builds in that profile.
    pub(crate) fn median(&self, profile: Profile, of: fn(&Build) -> f64) -> f64 {
        let mut values: Vec<f64> = self.builds.iter().filter(|build| build.profile == profile).map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
    }
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
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        // No cache of compiled crates.
        .env("RUSTC_WRAPPER", "")
        // As cargo does by itself for packages from crates.io.
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", "--cap-lints=allow")
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
