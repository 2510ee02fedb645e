// SPDX-License-Identifier: MIT
// Times the llama.cpp inside node-llama-cpp: prompts of random tokens, then answers. Lists have
// commas, and 0 stands for an empty one of prompts or sequences.
//
//     node llama.mjs node_modules/node-llama-cpp/dist/index.js MODEL PREFILL DECODE SEQUENCES TOKENS THREADS
import {pathToFileURL} from "node:url";

const [index, modelPath, ...rest] = process.argv.slice(2);
const [prefill, decode, sequences] = rest.slice(0, 3).map(list => list.split(",").map(Number));
const [tokens, threads] = rest.slice(3).map(Number);
const WARM = 2; // steps of each answer that do not count

const {getLlama, LlamaLogLevel} = await import(pathToFileURL(index));
const llama = await getLlama({
    build: "never", skipDownload: true, gpu: false, progressLogs: false, maxThreads: threads,
    logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath});
const {vocab_size: vocabulary} = model.fileInfo.metadata.deepseek2;
const ids = (n, salt = 0) => // not the markers at either end
    Array.from({length: n}, (_, i) => 500 + ((i + salt) * 7919) % (vocabulary - 1000));
const say = (test, n, count, start) =>
    console.log(`${test} ${n} ${(count * 1000 / (performance.now() - start)).toFixed(3)}`);

async function withContext(contextSize, n, use) {
    const context = await model.createContext({contextSize, batchSize: 512, sequences: n, threads});
    await use(Array.from({length: n}, () => context.getSequence()));
    await context.dispose();
}

// All answers at once; the clock starts when each has been through its first steps.
async function answer(all, test, n) {
    let start, warm = 0, go;
    const ready = new Promise(resolve => { go = resolve; });
    await Promise.all(all.map(async (sequence, i) => {
        let step = -WARM;
        for await (const _ of sequence.evaluate(ids(1, 37 * i), {temperature: 0, yieldEogToken: true})) {
            if (++step === 0) {
                if (++warm === all.length) {
                    start = performance.now();
                    go();
                }
                await ready;
            }
            if (step === tokens)
                break;
        }
    }));
    say(test, n, tokens * all.length, start);
}

for (const n of prefill.filter(n => n > 0))
    await withContext(n + 64, 1, async ([sequence]) => {
        await sequence.evaluateWithoutGeneratingNewTokens(ids(32)); // warm
        await sequence.clearHistory();
        const start = performance.now();
        await sequence.evaluateWithoutGeneratingNewTokens(ids(n));
        say("prefill", n, n, start);
    });
if (tokens > 0) {
    for (const depth of decode)
        await withContext(depth + tokens + 64, 1, async ([sequence]) => {
            if (depth > 0)
                await sequence.evaluateWithoutGeneratingNewTokens(ids(depth));
            await answer([sequence], "decode", depth);
        });
    for (const n of sequences.filter(n => n > 0))
        await withContext(tokens + 64, n, all => answer(all, "sequences", n));
}
await llama.dispose();
