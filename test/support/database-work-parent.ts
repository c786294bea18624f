// A process that has a process of its own work on a database; a test kills it.
//   argv: a database of SQLite

import { doDatabaseWorkApart } from '../../src/node/engine/db/database-work.ts'

await doDatabaseWorkApart({ type: 'vacuum', path: process.argv[2]! })
