//! The images of `images/`: built, started by their own entrypoint on AWS's emulator in the worst
//! case that Lambda may be, put through the suite, attacked, and made to draw.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::conformance::cases;
use sandbox_core::{
    Displays, Executor as _, ExecutorExt as _, Job, JobBuilder, Outcome, Size, Verdict,
};
use sandbox_emulator::Function;
use sandbox_lambda::LambdaExecutor;
use support::Cloud;
use tokio::runtime::Runtime;

const RUNTIMES: [&str; 3] = ["python", "r", "node"];

/// One image, running.
struct Image {
    name: &'static str,
    root: PathBuf,
    cloud: Arc<Cloud>,
    executor: Arc<LambdaExecutor>,
    runtime: Arc<Runtime>,
}

type Check = Result<(), Failed>;
type Test = fn(&Image) -> Check;

fn main() {
    let arguments = Arguments::from_args();
    let images = std::env::var_os("SANDBOX_TEST_IMAGES").map(PathBuf::from).expect(
        "SANDBOX_TEST_IMAGES does not say where the images are; run: source scripts/test-images",
    );
    let runtime = Arc::new(Runtime::new().expect("runtime"));
    let functions =
        RUNTIMES.map(|name| Function { memory: 2048, ..Function::image(name, images.join(name)) });
    let cloud = Arc::new(runtime.block_on(Cloud::start(functions)));
    let mut trials = Vec::new();
    for name in RUNTIMES {
        let image = Arc::new(Image {
            name,
            root: images.join(name),
            cloud: Arc::clone(&cloud),
            executor: Arc::new(runtime.block_on(cloud.executor(name))),
            runtime: Arc::clone(&runtime),
        });
        for case in cases() {
            let applies = case.applies_to(image.executor.capabilities());
            let image = Arc::clone(&image);
            let check =
                move || image.runtime.block_on(case.check(&image.executor)).map_err(Failed::from);
            let name = format!("{name}::{}", case.name);
            trials.push(Trial::test(name, check).with_ignored_flag(!applies));
        }
        let own: &[(&str, Test)] = match name {
            "python" => &[
                ("draws_a_plot", python_plot),
                ("shows_what_is_not_saved", python_display),
                ("imports_in_silence", imports),
                ("runs_what_models_write", programs),
            ],
            "r" => &[
                ("draws_a_plot", r_plot),
                ("shows_what_is_not_saved", r_display),
                ("has_its_packages", r_packages),
            ],
            _ => &[("runs_what_models_write", programs)],
        };
        let all: &[(&str, Test)] = &[
            ("attacks_are_held_as_claimed", attacks),
            ("has_exactly_the_locked_packages", locked),
            ("is_a_place_for_programs_and_not_to_stay", place),
        ];
        for (what, check) in own.iter().chain(all) {
            let (image, check) = (Arc::clone(&image), *check);
            trials.push(Trial::test(format!("{name}::{what}"), move || check(&image)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The stand-ins have processes, which exit() would leave.
    drop((cloud, runtime));
    conclusion.exit();
}

impl Image {
    fn run(&self, job: JobBuilder) -> Result<Outcome, Failed> {
        let job = job.timeout(Duration::from_secs(50)).memory(Size::gib(1)).limit(|limits| {
            limits.cpu = Some(Duration::from_secs(50));
        });
        let outcome = self.runtime.block_on(self.executor.run(job.build()?))?;
        match outcome.is_success() {
            true => Ok(outcome),
            false => {
                let (out, err) = (outcome.stdout.text(), outcome.stderr.text());
                Err(format!("{:?}\n{out}\n{err}", outcome.termination).into())
            }
        }
    }

    /// Draws, and finds the picture whole and where large files go.
    fn plot(&self, job: JobBuilder) -> Check {
        let outcome = self.run(job.artifact("plot.png"))?;
        // A letter without a font would be a warning of matplotlib's, its settings another.
        let error = outcome.stderr.text();
        ensure(self.name != "python" || error.is_empty(), || error.clone())?;
        let [plot] = &outcome.artifacts[..] else {
            return Err(format!("{:?} {:?}", outcome.artifacts, outcome.skipped).into());
        };
        let bytes = self.runtime.block_on(plot.bytes())?;
        ensure(bytes.starts_with(b"\x89PNG") && bytes.len() as u64 == plot.size(), || {
            "no PNG".into()
        })?;
        let stored = objects(&self.cloud.s3.objects().join("sandbox/jobs"));
        ensure(
            stored.iter().any(|path| fs::read(path).is_ok_and(|object| object == bytes)),
            || format!("{} bytes are in none of {} objects", bytes.len(), stored.len()),
        )?;
        if let Some(folder) = std::env::var_os("SANDBOX_TEST_PLOTS") {
            fs::create_dir_all(&folder)?;
            fs::write(Path::new(&folder).join(format!("{}.png", self.name)), &bytes)?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => objects(&path),
            path => vec![path],
        })
        .collect()
}

/// Draws what nobody saves; the wrapper works where the workspace is somewhere else, too.
fn display(image: &Image, job: JobBuilder) -> Check {
    let job = job.timeout(Duration::from_secs(50)).memory(Size::gib(1));
    let job = job.limit(|limits| limits.cpu = Some(Duration::from_secs(50))).build()?;
    let plain = image.runtime.block_on(image.executor.run(job.clone()))?;
    ensure(plain.displays.is_empty(), || "shown without the wrapper".into())?;
    let shown = Displays::new(Arc::clone(&image.executor));
    let outcome = image.runtime.block_on(shown.run(job))?;
    let [one] = &outcome.displays[..] else {
        return Err(format!("{:?} {}", outcome.displays, outcome.stderr.text()).into());
    };
    ensure(one.data.starts_with(b"\x89PNG") && one.data.len() > 5000, || "no PNG".into())?;
    ensure(outcome.artifacts.is_empty(), || format!("{:?}", outcome.artifacts))
}

fn python_display(image: &Image) -> Check {
    display(image, Job::python("import seaborn as sns\nsns.lineplot(x=[1, 2, 3], y=[2, 1, 3])"))
}

fn r_display(image: &Image) -> Check {
    let code = "library(ggplot2)\nggplot(data.frame(x = 1:3), aes(x, x)) + geom_point()";
    display(image, Job::r(code))
}

fn python_plot(image: &Image) -> Check {
    image.plot(Job::python(include_str!("../../examples/data/plot.py")))
}

/// Nothing that an import says gets between a program and what it says itself.
fn imports(image: &Image) -> Check {
    let names = "matplotlib.pyplot, numpy, openpyxl, pandas, PIL, scipy.stats, seaborn, sklearn";
    let outcome = image.run(Job::python(format!("import {names}")))?;
    ensure(outcome.stderr.total == 0 && outcome.stdout.total == 0, || outcome.stderr.text())
}

fn r_plot(image: &Image) -> Check {
    image.plot(Job::r(include_str!("../../examples/data/plot.R")))
}

fn r_packages(image: &Image) -> Check {
    let outcome = image.run(Job::r(include_str!("images/packages.R")))?;
    let text = outcome.stdout.text();
    let expected = r#"[{"name":"a","total":7},{"name":"b","total":11}]"#;
    ensure(text.trim() == expected, || format!("{text}\n{}", outcome.stderr.text()))
}

/// The programs of the compatibility suite, except one for a package that needs a network and
/// those for what may be in no function: `/dev/shm`, semaphores, `/dev/stdin`, a name of the user,
/// of whom the emulator has many.
fn programs(image: &Image) -> Check {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/programs");
    let (extension, but): (_, &[&str]) = match image.name {
        "python" => {
            ("py", &["requests.py", "processes.py", "streams.py", "threads.py", "system.py"])
        }
        _ => ("js", &[]),
    };
    let mut ran = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.extension().is_some_and(|found| found == extension) && !but.contains(&name.as_str())
        {
            let runtime = if extension == "py" { "python" } else { "node" };
            let _ = image.run(Job::source(runtime, fs::read(&path)?)).map_err(|failed| {
                Failed::from(format!("{name}: {}", failed.message().unwrap_or_default()))
            })?;
            ran += 1;
        }
    }
    ensure(ran >= if extension == "py" { 10 } else { 3 }, || format!("{ran} programs"))
}

fn attacks(image: &Image) -> Check {
    let verification = image.runtime.block_on(image.executor.verify());
    let wrong = verification
        .attacks
        .iter()
        .filter(|attempt| matches!(attempt.verdict, Verdict::Broken | Verdict::Untried));
    let wrong: Vec<_> = wrong.map(|attempt| format!("{attempt:?}")).collect();
    ensure(verification.holds() && wrong.is_empty(), || wrong.join("\n"))
}

/// What is installed is what the lock says, and the lock has all that the lists name.
fn locked(image: &Image) -> Check {
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let read =
        |path: PathBuf| fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()));
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let installed = dpkg(&read(image.root.join("var/lib/dpkg/status"))?);
    let names: BTreeSet<_> = installed.iter().filter_map(|line| line.split('=').next()).collect();
    for list in ["common", image.name] {
        for name in lines(&read(lists.join(list).join("debian.txt"))?) {
            ensure(names.contains(name.as_str()), || format!("{name} is not installed"))?;
        }
    }
    if std::env::var_os("SANDBOX_TEST_IMAGES_LATEST").is_none() {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            _ => "arm64",
        };
        let lock = lists.join(image.name).join(format!("debian-{architecture}.lock"));
        let lock: BTreeSet<_> = lines(&read(lock)?).into_iter().collect();
        ensure(lock == installed, || format!("{:?}", lock.symmetric_difference(&installed)))?;
    }
    if image.name != "python" {
        return Ok(());
    }
    let wanted: BTreeSet<_> = lines(&read(lists.join("python/pypi.lock"))?)
        .iter()
        .filter_map(|line| Some(line.strip_suffix(" \\")?.replace('_', "-")))
        .filter(|line| line.contains("=="))
        .collect();
    for name in lines(&read(lists.join("python/pypi.txt"))?) {
        ensure(wanted.contains(&name), || format!("{name} is not in the lock"))?;
    }
    let list = "import importlib.metadata as m\nfor d in m.distributions(): print(f\"{d.metadata['Name'].lower().replace('_', '-')}=={d.version}\")";
    let found = image.run(Job::python(list))?.stdout.text();
    let found: BTreeSet<_> = found.lines().map(str::to_owned).collect();
    ensure(found == wanted, || format!("{:?}", found.symmetric_difference(&wanted)))
}

/// What dpkg says is installed, as `name=version`.
fn dpkg(status: &str) -> BTreeSet<String> {
    let package = |entry: &str| {
        let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
        let installed = field("Status: ") == Some("install ok installed");
        installed
            .then(|| Some(format!("{}={}", field("Package: ")?, field("Version: ")?)))
            .flatten()
    };
    status.split("\n\n").filter_map(package).collect()
}

fn place(image: &Image) -> Check {
    let text = image.run(Job::python(include_str!("images/place.py")))?.stdout.text();
    let expected = "1,234,567 9:00:00\n[]\n[] []\n0o711 0 False\n";
    ensure(text == expected, || text.clone())
}
