//! Programs as models write them, on the interpreters and libraries that people have.
//!
//! `scripts/test` installs what these need, and says where the virtual environment is.

#[path = "support/venv.rs"]
mod venv;

use sandbox::{ExecutorExt as _, Job, JobBuilder, LocalExecutor, Outcome, Runtime, Size};

async fn run(job: JobBuilder) -> Outcome {
    let python = Runtime::python().with_interpreter(venv::python());
    let executor = LocalExecutor::builder().runtime(python).build().await.expect("executor");
    let outcome = executor.run(job.build().expect("job")).await.expect("outcome");
    assert!(outcome.is_success(), "{:?}\n{}", outcome.termination, outcome.stderr.text());
    outcome
}

#[tokio::test]
async fn numpy_pandas_and_matplotlib_from_a_virtual_environment() {
    let code = r#"
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

frame = pd.read_csv("data.csv")
print(frame.groupby("kind")["value"].mean().to_dict())
x = np.linspace(0, 10, 200)
plt.plot(x, np.sin(x))
plt.title("sine")
plt.savefig("plot.png")
"#;
    let job = Job::python(code)
        .file("data.csv", "kind,value\na,1\na,3\nb,5\n")
        .memory(Size::gib(1))
        .artifact("*.png");
    let outcome = run(job).await;
    assert_eq!(outcome.stdout.text(), "{'a': 2.0, 'b': 5.0}\n");
    let plot = outcome.artifact("plot.png").expect("a plot");
    assert_eq!(plot.media_type(), "image/png");
    let bytes = plot.bytes().await.expect("bytes");
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 5000, "{}", bytes.len());
}

#[tokio::test]
async fn node_requires_a_module_of_the_job() {
    let module = "exports.mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;";
    let code = "const { mean } = require('./lib/stats.js');\n\
                require('fs').writeFileSync('out.json', JSON.stringify({ mean: mean([1, 2, 6]) }));\n\
                console.log(mean([1, 2, 6]));";
    let outcome = run(Job::node(code).file("lib/stats.js", module)).await;
    assert_eq!(outcome.stdout.text(), "3\n");
    let json = outcome.artifact("out.json").expect("json").bytes().await.expect("bytes");
    assert_eq!(json.as_ref(), br#"{"mean":3}"#);
}

#[tokio::test]
async fn r_draws_a_plot() {
    let code = "data <- read.csv('d.csv')\n\
                cat(mean(data$v), '\\n')\n\
                png('plot.png'); plot(data$v); invisible(dev.off())";
    let outcome = run(Job::r(code).file("d.csv", "v\n1\n2\n6\n")).await;
    assert_eq!(outcome.stdout.text(), "3 \n");
    let bytes = outcome.artifact("plot.png").expect("plot").bytes().await.expect("bytes");
    assert!(bytes.starts_with(b"\x89PNG"), "{} bytes", bytes.len());
}

#[tokio::test]
async fn bash_runs_a_pipeline() {
    let code =
        "set -o pipefail\nsort -n < numbers | uniq -c | awk '{ print $2 \"x\" $1 }' | tee out";
    let outcome = run(Job::bash(code).file("numbers", "3\n1\n3\n2\n")).await;
    assert_eq!(outcome.stdout.text(), "1x1\n2x1\n3x2\n");
    assert!(outcome.artifact("out").is_some());
}

#[tokio::test]
async fn python_children_threads_and_temporary_files_work() {
    let code = r#"
import concurrent.futures, multiprocessing, subprocess, tempfile, asyncio, sqlite3
with multiprocessing.Pool(2) as pool:
    print(pool.map(abs, [-1, -2]))
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(list(pool.map(abs, [-3, -4])))
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip())
with tempfile.NamedTemporaryFile() as file:
    print(file.name.startswith("/tmp/"))
async def both(): return await asyncio.gather(asyncio.sleep(0, 5), asyncio.sleep(0, 6))
print(asyncio.run(both()))
print(sqlite3.connect("x.db").execute("select 7").fetchone())
"#;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "[1, 2]\n[3, 4]\nchild\nTrue\n[5, 6]\n(7,)\n");
}
