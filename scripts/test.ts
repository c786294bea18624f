// The test command: runs every test, prints what failed, and ends with `N passed, N failed, N skipped`.
//
//   bun scripts/test.ts [--bail] [path or name filter ...]

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Worker processes of the test runner: the tests start processes of their own, so no more than two. */
const parallel = 2
/** A test or hook without a limit of its own may take this long, ms: a busy machine is no failure. */
const testTimeoutMs = 180_000

interface Totals {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly skips: readonly string[]
}

function unescapeXml(text: string): string {
  return text.replace(/&(lt|gt|quot|apos|amp|#10);/g, (_, name: string) =>
    name === 'lt'
      ? '<'
      : name === 'gt'
        ? '>'
        : name === 'quot'
          ? '"'
          : name === 'apos'
            ? "'"
            : name === 'amp'
              ? '&'
              : '\n',
  )
}

/** Counts the cases of a JUnit report and names the skipped ones. */
function readReport(path: string): Totals {
  const report = readFileSync(path, 'utf8')
  let passed = 0
  let failed = 0
  const skips: string[] = []
  for (const match of report.matchAll(/<testcase\b([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const body = match[3] ?? ''
    if (/<(failure|error)\b/.test(body)) failed++
    else if (/<skipped\b/.test(body)) skips.push(unescapeXml(/\bname="([^"]*)"/.exec(match[1]!)?.[1] ?? '?'))
    else passed++
  }
  return { passed, failed, skipped: skips.length, skips }
}

const folder = mkdtempSync(join(tmpdir(), 'pocketfleet-test-'))
const report = join(folder, 'junit.xml')
const run = Bun.spawn(
  [
    process.execPath,
    'test',
    `--parallel=${parallel}`,
    `--timeout=${testTimeoutMs}`,
    '--reporter=junit',
    `--reporter-outfile=${report}`,
    ...process.argv.slice(2),
  ],
  {
    stdio: ['ignore', 'inherit', 'inherit'],
    // Whatever the tests and their peers ask is on this machine, behind no proxy.
    env: { ...process.env, NODE_ENV: 'test', NO_PROXY: '*', no_proxy: '*' },
  },
)
const code = await run.exited
let totals: Totals
try {
  totals = readReport(report)
} catch (error) {
  console.error(`the test runner ended with exit code ${code} and left no report: ${error}`)
  totals = { passed: 0, failed: 1, skipped: 0, skips: [] }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
for (const name of totals.skips) console.log(`skipped: ${name}`)
// A runner that fails without a failed case (a crash, a file that does not load) must not look like success.
const failed = code !== 0 && totals.failed === 0 ? 1 : totals.failed
if (failed > 0 && totals.failed === 0) console.error(`the test runner ended with exit code ${code}`)
console.log(`${totals.passed} passed, ${failed} failed, ${totals.skipped} skipped`)
process.exit(failed > 0 || totals.passed === 0 ? 1 : 0)
