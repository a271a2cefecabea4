//! The known kernels, fetched from their distributions and unpacked for QEMU.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::setup::apt::Suite;
use crate::{setup, shell};

/// A distribution's kernel.
pub(super) struct Kernel {
    /// What the command line calls it.
    pub(super) name: &'static str,
    /// Where it is at home.
    pub(super) distribution: &'static str,
    source: Source,
    /// `lb` refuses it, and says what it lacks.
    pub(super) refused: bool,
}

enum Source {
    /// The cloud kernel of a suite of Debian's.
    Debian(&'static str),
    /// Packages at fixed addresses, with their SHA-256.
    Files(&'static [(&'static str, &'static str)]),
}

/// Every kernel that `vm --all` runs.
pub(super) const KERNELS: [Kernel; 5] = [
    debian("5.10", "Debian 11", "bullseye", true),
    Kernel { name: "5.15", distribution: "Ubuntu 22.04", source: Source::Files(&JAMMY), refused: false },
    debian("6.1", "Debian 12", "bookworm", false),
    debian("6.12", "Debian 13", "trixie", false),
    debian("backports", "Debian 13, backports", "trixie-backports", false),
];

/// Ubuntu's archive is no apt source of a Debian machine, so its packages are held against their sums instead.
const JAMMY: [(&str, &str); 2] = [
    (
        "http://archive.ubuntu.com/ubuntu/pool/main/l/linux/linux-image-unsigned-5.15.0-25-generic_5.15.0-25.25_amd64.deb",
        "ac69df20790c48217eb1386ef81fd10d3f20a4ede4dab81cc107c65d29549fa0",
    ),
    (
        "http://archive.ubuntu.com/ubuntu/pool/main/l/linux/linux-modules-5.15.0-25-generic_5.15.0-25.25_amd64.deb",
        "d0ba4087d9e1d497925b3481d3531fba6c2a852855f8019d73b0b1385aa4da1f",
    ),
];

const fn debian(name: &'static str, distribution: &'static str, suite: &'static str, refused: bool) -> Kernel {
    Kernel { name, distribution, source: Source::Debian(suite), refused }
}

/// A kernel on this disk.
pub(super) struct Fetched {
    /// Its release, as `uname -r` says.
    pub(super) release: String,
    /// The uncompressed image.
    pub(super) image: PathBuf,
    /// What `lib/modules` is under.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The kernel, from target/vm if it was fetched before.
    ///
    /// # Errors
    /// Its packages can't be had, or aren't what they should be.
    pub(super) fn fetch(&self, checkout: &Checkout) -> Result<Fetched> {
        let place = checkout.target("vm").join(self.name);
        let _lock = setup::lock(checkout)?;
        if !place.exists() {
            let staged = checkout.target("vm").join(format!("{}.new", self.name));
            if staged.exists() {
                fs::remove_dir_all(&staged).with_context(|| format!("removing {}", staged.display()))?;
            }
            self.unpack(checkout, &staged).with_context(|| format!("the kernel of {}", self.distribution))?;
            fs::rename(&staged, &place).with_context(|| format!("creating {}", place.display()))?;
        }
        let modules = modules(&place)?;
        let release = release(&modules)?;
        Ok(Fetched { release, image: place.join("vmlinux"), modules })
    }

    fn unpack(&self, checkout: &Checkout, staged: &Path) -> Result<()> {
        let packages = match &self.source {
            Source::Debian(suite) => from_debian(checkout, suite, &staged.join("packages"))?,
            Source::Files(files) => from_addresses(checkout, files, &staged.join("packages"))?,
        };
        for package in &packages {
            shell::run(checkout.command("dpkg-deb").arg("-x").arg(package).arg(staged))?;
        }
        fs::remove_dir_all(staged.join("packages"))?;
        let modules = modules(staged)?;
        let release = release(&modules)?;
        shell::run(checkout.command("depmod").arg("-b").arg(&modules).arg(&release))?;
        let images =
            [staged.join(format!("boot/vmlinuz-{release}")), modules.join(format!("lib/modules/{release}/vmlinuz"))];
        let Some(image) = images.iter().find(|image| image.is_file()) else {
            bail!("its packages have no image");
        };
        let compressed = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
        let image = decompress(checkout, &compressed)?;
        fs::write(staged.join("vmlinux"), image).context("writing the uncompressed image")
    }
}

fn from_debian(checkout: &Checkout, suite: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    const META: &str = "linux-image-cloud-amd64";
    let work = checkout.target("vm-apt");
    let apt = Suite::open(checkout, &work, suite)?;
    let depends = shell::read(apt.command("apt-cache").args(["depends", META]))?;
    let image = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: ").filter(|it| it.starts_with("linux-image-")));
    let image = image.with_context(|| format!("{suite} has no {META}"))?;
    // Newer ones are split, and the image is a name for both.
    let parts = image.replacen("image", "binary", 1);
    let split = shell::succeeds(apt.command("apt-cache").args(["show", &parts]));
    let modules = image.replacen("image", "modules", 1);
    let wanted: &[&str] = if split { &[&parts, &modules] } else { &[image] };
    let packages = apt.download(wanted, directory)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    Ok(packages)
}

fn from_addresses(checkout: &Checkout, files: &[(&str, &str)], directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let fetch = |(address, sum): &(&str, &str)| {
        let file = directory.join(address.rsplit('/').next().unwrap_or_default());
        let mut helper = checkout.command("/usr/lib/apt/apt-helper");
        helper.args(["download-file", address]).arg(&file).arg(format!("SHA256:{sum}"));
        shell::run_silent(&mut helper).map(|()| file)
    };
    files.iter().map(fetch).collect()
}

/// The directory that has `lib/modules`: packages have it in `/` or in `/usr`.
fn modules(root: &Path) -> Result<PathBuf> {
    let places = [root.to_owned(), root.join("usr")];
    places.into_iter().find(|place| place.join("lib/modules").is_dir()).context("its packages have no modules")
}

fn release(modules: &Path) -> Result<String> {
    let directory = modules.join("lib/modules");
    let mut entries = fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
    let entry = entries.next().context("its packages have no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// The ELF image within a bzImage (kernel, Documentation/arch/x86/boot.rst). QEMU starts it without the kernel's own
/// decompressor, which takes longer in an emulated machine than all of the boot.
fn decompress(checkout: &Checkout, image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image).context("its image is no bzImage")?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => bail!("its image is compressed in a way that isn't known here"),
    };
    // The kernel's build puts the length behind it, which gzip has by itself.
    let payload = if program == "gzip" { payload } else { payload.get(..payload.len() - 4).unwrap_or_default() };
    let mut command = checkout.command(program);
    let mut child = command.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(payload));
        child.wait_with_output()
    })?;
    if !output.stdout.starts_with(b"\x7fELF") {
        bail!("`{program} -dc` makes no image of it ({})", output.status);
    }
    Ok(output.stdout)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?)
}
