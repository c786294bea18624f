// `bun run build`: dist/pocketfleet, one executable for linux-x64 with RocksDB, libzmq and the workers inside.

import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { workerEntries } from '../src/workers.ts'
import { nativePlugin } from './native-plugin.ts'

const root = join(import.meta.dir, '..')
const outfile = join(root, 'dist/pocketfleet')
const startedAtMs = performance.now()
mkdirSync(join(root, 'dist'), { recursive: true })
const result = await Bun.build({
  entrypoints: [join(root, 'src/main.ts'), ...workerEntries.map((entry) => join(root, `src/${entry}.ts`))],
  root: join(root, 'src'),
  target: 'bun',
  format: 'esm',
  minify: true,
  bytecode: true,
  sourcemap: 'linked',
  define: { 'process.env.NODE_ENV': '"production"' },
  plugins: [nativePlugin(root, 'x64')],
  compile: { target: 'bun-linux-x64', outfile, autoloadDotenv: false, autoloadBunfig: false },
})
if (!result.success) {
  for (const log of result.logs) console.error(log)
  process.exit(1)
}
const megabytes = (statSync(outfile).size / 1e6).toFixed(0)
console.log(`dist/pocketfleet  ${megabytes} MB  ${(performance.now() - startedAtMs).toFixed(0)} ms`)
