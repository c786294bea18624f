// A standby in a folder of this machine, for tests of owners that are processes without a node around them.

import type { StandbyNode } from '../../src/replicate/standby-council.ts'
import { StandbyLogs } from '../../src/replicate/standby-log.ts'

/** Its disk is the folder, and outlives whoever opened it. */
export function localStandby(dir: string): StandbyNode {
  const logs = StandbyLogs.open(dir)
  const id = 'abcdefghij12345'
  return {
    name: 'local',
    promise: (writer) => logs.promise(id, writer),
    append: (writer, unit) => logs.append(id, writer, unit),
    read: (reader, range) => logs.read(id, reader, range),
    async release(writer) {
      await logs.release(id, writer)
    },
  }
}
