// Reads trees with JSROOT and writes what is in them, as JSON: for each request the branches by path with the number of
// entries and all values one after the other (little-endian float64 in base64, null where they are not numbers), or the error.
//   node read.mjs MODULES OUTPUT REQUEST...     with REQUEST = {"file": ..., "tree": ..., "only": [branches] or null}
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [modules, output, ...requests] = process.argv.slice(2);
for (const each of ['log', 'info', 'warn', 'error']) console[each] = () => {};

const jsroot = name => import(pathToFileURL(`${modules}/node_modules/jsroot/modules/${name}.mjs`));
const { openFile } = await jsroot('io');
const { TSelector, treeProcess } = await jsroot('tree');

// All leaves of a value in the order of its keys: numbers, texts, truth values.
function flatten(value, out) {
  if (value === null || value === undefined) return;
  if (ArrayBuffer.isView(value) || Array.isArray(value)) for (const each of value) flatten(each, out);
  else if (typeof value === 'object')
    for (const key of Object.keys(value).sort()) {
      if (key !== '_typename' && !key.startsWith('$') && key !== 'fBits' && key !== 'fUniqueID') flatten(value[key], out);
    }
  else if (typeof value !== 'function') out.push(typeof value === 'bigint' ? Number(value) : value);
}

function branchesOf(holder, path, out) {
  for (const branch of holder.fBranches.arr) {
    const name = path ? `${path}/${branch.fName}` : branch.fName;
    if (branch.fBranches?.arr.length) branchesOf(branch, name, out);
    else out.push([name, branch]);
  }
  return out;
}

// JSROOT throws some errors where no promise can catch them, and may then never come to an end.
let fail = () => {};
process.on('uncaughtException', error => fail(error));
const failure = () => new Promise((_, reject) => { fail = reject; });

async function read(tree, branch) {
  const selector = new TSelector();
  const values = [];
  let entries = 0;
  selector.addBranch(branch, 'value');
  selector.Process = function () {
    entries++;
    flatten(this.tgtobj.value, values);
    this.tgtobj.value = undefined; // nothing stays from one entry to the next
  };
  if (branch.fEntries) await Promise.race([treeProcess(tree, selector), failure()]);
  const numbers = values.every(each => typeof each !== 'string');
  return {
    entries,
    digest: createHash('sha256').update(JSON.stringify(values.map(each => (Number.isNaN(each) ? 'NaN' : each)))).digest('hex'),
    values: numbers ? Buffer.from(Float64Array.from(values, Number).buffer).toString('base64') : null,
  };
}

// What of a tree is neither branch nor leaf, with each object once.
function tail(tree) {
  const seen = new Map();
  const describe = value => {
    if (value === null || typeof value !== 'object') return value;
    if (ArrayBuffer.isView(value)) return Array.from(value);
    if (Array.isArray(value)) return value.map(describe);
    if (value === tree) return 'the tree';
    if ((value._typename?.startsWith('TBranch') && !value.fRefTable) || value._typename?.startsWith('TLeaf')) return `${value._typename} ${value.fName}`;
    if (seen.has(value)) return `object ${seen.get(value)}`;
    seen.set(value, seen.size);
    return Object.fromEntries(Object.keys(value).filter(key => !key.startsWith('$')).map(key => [key, describe(value[key])]));
  };
  const members = ['fTitle', 'fAliases', 'fIndexValues', 'fIndex', 'fTreeIndex', 'fFriends', 'fUserInfo', 'fBranchRef', 'fNvar'];
  return Object.fromEntries(members.map(key => [key, describe(tree[key] ?? null)]));
}

const answers = [];
for (const text of requests) {
  const request = JSON.parse(text);
  const found = {};
  try {
    const file = await openFile(`file://${request.file}`);
    const tree = await file.readObject(request.tree);
    for (const [name, branch] of branchesOf(tree, '', [])) {
      if (request.only && !request.only.includes(name)) continue;
      try {
        found[name] = await read(tree, branch);
      } catch (error) {
        found[name] = { error: String(error?.message ?? error) };
      }
    }
    answers.push({ entries: tree.fEntries, tail: tail(tree), branches: found });
  } catch (error) {
    answers.push({ error: String(error?.message ?? error) });
  }
}
writeFileSync(output, JSON.stringify(answers));
process.exit(0);
