//! Figures that real programs draw and do not save.
//!
//! `scripts/test` installs what these need, and says where the virtual environment is.

#[path = "support/venv.rs"]
mod venv;

use sandbox::{
    Artifact, Displays, ExecutorExt as _, Job, JobBuilder, LocalExecutor, Outcome, Runtime, Size,
};

async fn run(job: JobBuilder) -> Outcome {
    let python = Runtime::python().with_interpreter(venv::python());
    let executor = LocalExecutor::builder().runtime(python).build().await.expect("executor");
    let job = job.memory(Size::gib(1)).build().expect("job");
    // The control: without the wrapper nothing is shown.
    let plain = executor.run(job.clone()).await.expect("outcome");
    assert!(plain.displays.is_empty());
    Displays::new(executor).run(job).await.expect("outcome")
}

/// What each program draws: images shown, files saved, and the end of what it says.
async fn check(job: JobBuilder, shown: usize, saved: &[&str]) -> Outcome {
    let outcome = run(job.clone()).await;
    assert!(outcome.is_success(), "{job:?}: {}", outcome.stderr.text());
    let paths: Vec<_> = outcome.artifacts.iter().map(Artifact::path).collect();
    assert_eq!((outcome.displays.len(), &paths[..]), (shown, saved), "{job:?}: {outcome:?}");
    for display in &outcome.displays {
        assert_eq!(display.media_type, "image/png");
        assert!(display.data.starts_with(b"\x89PNG\r\n\x1a\n"), "{job:?}");
        assert!(display.data.ends_with(b"IEND\xaeB`\x82"), "{job:?}: cut off");
    }
    outcome
}

#[tokio::test]
async fn python_shows_what_is_not_saved() {
    for (code, shown, saved) in [
        ("plt.plot([1, 2])\nplt.show()", 1, &[][..]),
        // Never shown, as at the end of a notebook's cell.
        ("plt.plot([1, 2])", 1, &[]),
        ("for n in range(3):\n    plt.figure()\n    plt.plot([n])\nplt.show()", 3, &[]),
        // After show a new figure begins.
        ("for n in range(3):\n    plt.plot([n])\n    plt.show()", 3, &[]),
        ("plt.plot([1])\nplt.savefig('a.png')", 0, &["a.png"]),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.show()", 0, &["a.png"]),
        ("plt.plot([1])\nplt.savefig('a.png')\nplt.plot([5])\nplt.show()", 1, &["a.png"]),
        // Saved after it was shown: what is saved is the figure, not an empty one.
        ("plt.plot([1])\nplt.show()\nplt.savefig('a.png')", 1, &["a.png"]),
        ("fig, ax = plt.subplots()\nax.bar([1], [2])\nfig.show()", 1, &[]),
        ("import matplotlib\nmatplotlib.use('Agg')\nplt.hist([1, 2])\nplt.show()", 1, &[]),
        ("import pandas\npandas.Series([1, 2]).plot()", 1, &[]),
        // Saved where it is not seen, and in a form that is no picture.
        ("import io\nplt.plot([1])\nplt.savefig(io.BytesIO())", 1, &[]),
        ("plt.plot([1])\nplt.savefig('/tmp/a.png')", 1, &[]),
        ("plt.plot([1])\nplt.savefig('a.pdf')\nplt.show()", 1, &["a.pdf"]),
        ("plt.plot([1])\nplt.gcf().savefig('a', format='jpg')", 0, &["a"]),
        // Steps of an animation.
        ("for n in range(5):\n    plt.plot([n])\n    plt.pause(.01)", 1, &[]),
        (
            "import multiprocessing as m\ndef f(n):\n    plt.plot([n])\n    plt.show()\n\
          p = [m.get_context('fork').Process(target=f, args=(n,)) for n in range(3)]\n\
          [x.start() for x in p]\n[x.join() for x in p]",
            3,
            &[],
        ),
        // What stays open is one figure, as it is at last; a program goes on with it.
        ("plt.ion()\nfor n in range(3):\n    plt.plot([n])\n    plt.show()", 1, &[]),
        (
            "for n in range(3):\n    plt.plot([n])\n    plt.show(block=False)\n    plt.close()",
            3,
            &[],
        ),
        (
            "plt.plot([1])\nplt.show(block=False)\nplt.plot([2])\nplt.savefig('a.png')\n\
             assert len(plt.gca().lines) == 2",
            1,
            &["a.png"],
        ),
        (
            "one = plt.figure()\nplt.plot([1])\nplt.figure()\nplt.plot([1])\nplt.figure(one)\n\
             plt.show(block=False)\nassert plt.gcf() is one",
            2,
            &[],
        ),
        // What is replaced is called as what it replaces.
        ("plt.plot([1])\nplt.gcf().savefig(fname='a.png')", 0, &["a.png"]),
        (
            "import pickle, inspect\nfor f in plt.show, plt.savefig, plt.pause, plt.close:\n    \
             assert pickle.loads(pickle.dumps(f)) is f\n\
             assert 'fname' in inspect.signature(plt.Figure.savefig).parameters",
            0,
            &[],
        ),
        // A backend of the program's own.
        (
            "import sys, matplotlib\nfrom matplotlib.backends.backend_agg import FigureCanvas\n\
             def show(block=None): global called; called = True\nsys.modules['own'] = sys.modules[__name__]\n\
             matplotlib.use('module://own')\nplt.plot([1])\nplt.show()\nassert called",
            1,
            &[],
        ),
        (
            "import subprocess as s, sys\nopen('p.py', 'w').write('import pylab as p; p.plot([1])')\n\
             s.run([sys.executable, 'p.py'], check=True)",
            1,
            &["p.py"],
        ),
        ("import shutil\nshutil.rmtree('.displays')\nplt.plot([1])\nplt.show()", 1, &[]),
        ("plt.figure()", 0, &[]),
        ("import os\nos.chdir('/tmp')\nplt.plot([1])\nplt.show()", 1, &[]),
        ("import os\nplt.plot([1])\nplt.show()\nos._exit(0)", 1, &[]),
        ("print('no figure')", 0, &[]),
    ] {
        let _ =
            check(Job::python(format!("import matplotlib.pyplot as plt\n{code}")), shown, saved)
                .await;
    }
    let outcome =
        check(Job::python("from matplotlib.pyplot import *\nplot([1])\nshow()"), 1, &[]).await;
    assert_eq!(outcome.stderr.text(), "");
    // As pandas looks for it; and by threads at once, of which none finds half a module.
    let found = "import importlib, importlib.util as u, threading\nu.find_spec('matplotlib.pyplot')\n\
                 def draw():\n    m = importlib.import_module('matplotlib')\n    m.rcParams\n\
                 t = [threading.Thread(target=draw) for n in range(8)]\n[x.start() for x in t]\n\
                 [x.join() for x in t]\nfrom matplotlib import pyplot as plt\nplt.plot([1])\n\
                 import matplotlib, sys\nassert matplotlib is sys.modules['matplotlib']\n\
                 assert 'site-packages' in matplotlib.__file__\n\
                 assert not any('.displays' in p for p in sys.path), sys.path";
    let outcome = check(Job::python(found), 1, &[]).await;
    assert_eq!(outcome.stderr.text(), "");
    // The recipe of importlib's documentation.
    let lazy = "import importlib.util as u, sys\ns = u.find_spec('matplotlib')\n\
                s.loader = u.LazyLoader(s.loader)\nm = u.module_from_spec(s)\n\
                sys.modules['matplotlib'] = m\ns.loader.exec_module(m)\nm.use('Agg')\n\
                import matplotlib.pyplot as plt\nassert sys.modules['matplotlib'] is m\n\
                assert 'site-packages' in m.__file__ and m.__package__ == 'matplotlib'\nplt.plot([1])";
    let outcome = check(Job::python(lazy), 1, &[]).await;
    assert_eq!(outcome.stderr.text(), "");
    // Where it is in the path of an interpreter that cannot say where it is.
    let gone = "import os, sys\nsys.path.insert(0, '')\nos.mkdir('/tmp/x')\nos.chdir('/tmp/x')\n\
                os.rmdir('/tmp/x')\nimport matplotlib.pyplot as plt\nplt.plot([1])\nos.chdir('/')";
    let _ = check(Job::python(gone), 1, &[]).await;
    let saved =
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.savefig('a.png')";
    let outcome = check(Job::python(saved), 1, &["a.png"]).await;
    let bytes = outcome.artifacts[0].bytes().await.expect("bytes");
    assert!(bytes.len() > 8000, "an empty figure was saved: {} bytes", bytes.len());
}

#[tokio::test]
async fn r_shows_what_is_not_saved() {
    for (code, shown, saved) in [
        ("plot(1:3)", 1, &[][..]),
        ("plot(1:3); hist(c(1, 2)); invisible(dev.off()); barplot(1:2)", 3, &[]),
        ("library(ggplot2)\nggplot(data.frame(x = 1:3), aes(x, x)) + geom_point()", 1, &[]),
        ("dev.new(width = 4, height = 3); plot(1)", 1, &[]),
        ("dev.new(width = 800, height = 600, unit = 'px'); plot(1)", 1, &[]),
        ("unlink('.displays', recursive = TRUE); plot(1)", 1, &[]),
        ("png('a.png'); plot(1); invisible(dev.off())", 0, &["a.png"]),
        ("par(mfrow = c(1, 2))", 0, &[]),
        ("setwd(tempdir()); plot(1)", 1, &[]),
        ("cat('no figure')", 0, &[]),
    ] {
        let outcome = check(Job::r(code), shown, saved).await;
        assert_eq!(outcome.stderr.text(), "", "{code}");
    }
}

/// What makes the figures is never among them, also where patterns choose what is collected.
#[tokio::test]
async fn patterns_choose_among_files_and_figures_come_besides() {
    let python = "import matplotlib.pyplot as plt\nplt.plot([1])\nopen('a.csv', 'w').write('1')\n\
                  open('b.txt', 'w').write('1')";
    let _ = check(Job::python(python).artifact("*.csv"), 1, &["a.csv"]).await;
    let _ =
        check(Job::r("plot(1); cat('1', file = 'a.csv')").artifact("*.csv"), 1, &["a.csv"]).await;
    let _ = check(Job::python("import numpy").artifact("*"), 0, &["main.py"]).await;
}

#[tokio::test]
async fn figures_of_a_program_that_fails_are_shown() {
    let code = "import matplotlib.pyplot as plt\nplt.plot([1])\n1 / 0";
    let outcome = run(Job::python(code)).await;
    assert!(!outcome.is_success() && outcome.displays.len() == 1, "{outcome:?}");
    let outcome = run(Job::r("plot(1)\nstop('no')")).await;
    assert!(!outcome.is_success() && outcome.displays.len() == 1, "{outcome:?}");
}

/// What the program sees is what it would see without the wrapper, but for a folder in its path.
#[tokio::test]
async fn the_program_does_not_notice() {
    let code = "import sys, os\nown = [p for p in sys.path if '.displays' not in p]\n\
                path = os.environ.get('PYTHONPATH', '').replace('.displays/', '').lstrip(':')\n\
                print(own, path, sys.argv, __name__, globals().keys(), \
                [n for n in sys.modules if 'display' in n], 'matplotlib' in sys.modules)\n1 / 0";
    for job in [Job::python(code), Job::python(code).env("PYTHONPATH", "lib:/opt/x")] {
        let job = job.build().expect("job");
        let executor = LocalExecutor::new().await.expect("executor");
        let plain = executor.run(job.clone()).await.expect("outcome");
        let shown = Displays::new(executor).run(job).await.expect("outcome");
        assert_eq!(plain.stdout.text(), shown.stdout.text());
        assert_eq!(plain.stderr.text(), shown.stderr.text());
        assert!(plain.stderr.text().contains("ZeroDivisionError"), "{plain:?}");
    }
    let code =
        "print(Sys.getenv('R_TESTS')); print(ls(all.names = TRUE)); print(commandArgs(TRUE))";
    let job = Job::r(code).arg("x").build().expect("job");
    let executor = LocalExecutor::new().await.expect("executor");
    let plain = executor.run(job.clone()).await.expect("outcome");
    let shown = Displays::new(executor).run(job).await.expect("outcome");
    assert_eq!(plain.stdout.text(), shown.stdout.text());
}

/// Its files are the job's: hostile ones are displays that say what they are, or nothing.
#[tokio::test]
async fn hostile_displays_are_bytes() {
    let code = "import matplotlib, os, shutil\nshutil.rmtree('.displays')\nos.symlink('/etc', '.displays')";
    let outcome = run(Job::python(code)).await;
    assert!(outcome.is_success() && outcome.displays.is_empty(), "{outcome:?}");
    let code = "import os\nos.symlink('/etc/passwd', '.displays/a.png')\n\
                os.mkfifo('.displays/b.png')\nopen('.displays/c.png', 'w').write('<script>')\n\
                os.truncate(os.open('.displays/d.png', os.O_CREAT | os.O_RDWR), 20 << 20)";
    let outcome = run(Job::python(code)).await;
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(outcome.displays.len(), 1, "{outcome:?}");
    assert_eq!(outcome.displays[0].data.as_ref(), b"<script>");
    let left: Vec<_> = outcome.artifacts.iter().map(Artifact::path).collect();
    assert_eq!(left, [".displays/d.png"], "what does not fit stays a file");
    assert_eq!(outcome.skipped.len(), 2, "{:?}", outcome.skipped);
}
