const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { exec, execFileSync, fork, spawn } = require('child_process');
if (process.argv[2] === 'child') {
  process.send({ got: 1 }, () => process.disconnect());
} else if (isMainThread) {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: { n: 20, shared } });
  worker.on('message', sum => {
    console.log(sum, Atomics.load(shared, 0), execFileSync('echo', ['child']).toString().trim());
    exec('exit 3', error => {
      console.log(error.code);
      fork(__filename, ['child']).on('message', message => {
        console.log(message);
        const cat = spawn('cat');
        cat.stdout.on('data', data => console.log(data.toString()));
        cat.stdin.end('piped');
      });
    });
  });
} else {
  Atomics.store(workerData.shared, 0, 5);
  parentPort.postMessage([...Array(workerData.n).keys()].reduce((a, b) => a + b));
}
