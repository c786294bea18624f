// One restore in a process of its own, as `litestream restore` is one: argv holds { store, prefix, path } as JSON.
// Prints how long the restore itself took, ms.

import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'

const { store: config, prefix, path } = JSON.parse(process.argv[2]!)
const store = await openObjectStore(config)
const startedAtMs = performance.now()
await restoreDatabase({ store, prefix }, path, { target: null })
console.log(performance.now() - startedAtMs)
await store.close()
