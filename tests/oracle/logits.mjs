// SPDX-License-Identifier: MIT
// Asks the llama.cpp inside node-llama-cpp for whole distributions.
//
//     node logits.mjs node_modules/node-llama-cpp/dist/index.js MODEL JOB.json OUT
//
// JOB: {"prompts": [{"ids", "wanted"}]}; OUT becomes float32 [wanted position][vocabulary].
import {readFile, writeFile} from "node:fs/promises";
import {pathToFileURL} from "node:url";

const [index, modelPath, job, out] = process.argv.slice(2);
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(index));
const llama = await getLlama({
    build: "never", skipDownload: true, gpu: false, progressLogs: false, maxThreads: 2,
    logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({
    contextSize: 256, batchSize: 256, sequences: 1, flashAttention: false,
    experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"
});
const sequence = context.getSequence();
const rows = [];
for (const {ids, wanted} of JSON.parse(await readFile(job, "utf8")).prompts) {
    await sequence.clearHistory();
    const ask = new Set(wanted);
    const results = await sequence.controlledEvaluate(ids.map((id, at) =>
        ask.has(at) ? [id, {generateNext: {probabilities: true}}] : id));
    for (const at of wanted) {
        const {probabilities} = results[at].next;
        const row = new Float32Array(probabilities.size);
        for (const [id, p] of probabilities)
            row[id] = p;
        rows.push(Buffer.from(row.buffer));
    }
}
await writeFile(out, Buffer.concat(rows));
await llama.dispose();
