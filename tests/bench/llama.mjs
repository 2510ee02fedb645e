// SPDX-License-Identifier: MIT
// Times the llama.cpp inside node-llama-cpp: one prompt of random tokens, then an answer.
//
//     node llama.mjs node_modules/node-llama-cpp/dist/index.js MODEL PREFILL TOKENS THREADS
import {pathToFileURL} from "node:url";

const [index, modelPath, ...numbers] = process.argv.slice(2);
const [prefill, tokens, threads] = numbers.map(Number);
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(index));
const llama = await getLlama({
    build: "never", skipDownload: true, gpu: false, progressLogs: false, maxThreads: threads,
    logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({
    contextSize: prefill + tokens + 64, batchSize: 512, sequences: 1, threads
});
const sequence = context.getSequence();
const ids = n => Array.from({length: n}, (_, i) => 1000 + (i * 7919) % 50000);

await sequence.evaluateWithoutGeneratingNewTokens(ids(32)); // warm
await sequence.clearHistory();
let start = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(ids(prefill));
console.log(`prefill ${(prefill * 1000 / (performance.now() - start)).toFixed(3)}`);

await sequence.clearHistory();
let n = -2; // the first two are warm-up
for await (const _ of sequence.evaluate([1000], {temperature: 0})) {
    if (++n === 0)
        start = performance.now();
    if (n === tokens)
        break;
}
console.log(`decode ${(n * 1000 / (performance.now() - start)).toFixed(3)}`);
await llama.dispose();
