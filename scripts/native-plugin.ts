// Puts the native libraries into the compiled binary: the lookups that their packages make at run time find nothing
// there, so the build replaces each of them with a static path.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { BunPlugin } from 'bun'
import { addonPath } from '../src/ipc/zmq/library.ts'

export type Architecture = 'x64' | 'arm64'

/** npm's rocksdb has no prebuild for arm64: a build for it fails until somebody puts one there. */
const rocksdbPrebuild: Readonly<Record<Architecture, string>> = {
  x64: 'prebuilds/linux-x64/node.napi.glibc.node',
  arm64: 'prebuilds/linux-arm64.node',
}

/** Bun.build plugin for a `compile` build of `arch`. Throws when a library is not installed. */
export function nativePlugin(root: string, arch: Architecture): BunPlugin {
  const rocksdb = join(root, 'node_modules', 'rocksdb', rocksdbPrebuild[arch])
  const zeromq = addonPath(join(root, 'node_modules', 'zeromq'), arch)
  for (const path of [rocksdb, zeromq])
    if (!existsSync(path)) throw new Error(`${path} is missing; run npm install, or build it for ${arch}`)
  return {
    name: 'native libraries',
    setup(build) {
      build.onLoad({ filter: /node_modules[/\\]rocksdb[/\\]binding\.js$/ }, () => ({
        loader: 'js',
        contents: `module.exports = require(${JSON.stringify(rocksdb)})`,
      }))
      // `.node` files can be imported as plain files only by the bundler, not when running from source.
      build.onLoad({ filter: /src[/\\]ipc[/\\]zmq[/\\]embedded-library\.ts$/ }, () => ({
        loader: 'ts',
        contents: `import path from ${JSON.stringify(zeromq)} with { type: 'file' }\nexport const embeddedLibrary: string | null = path`,
      }))
    },
  }
}
