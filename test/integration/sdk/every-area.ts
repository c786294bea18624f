// All areas of the SDK, in the order in which they run: backups come last, for a restore takes the rest back.

import { authCalls } from './auth.ts'
import { mailAuthCalls } from './auth-mail.ts'
import { batchCalls } from './batch.ts'
import { clientCalls } from './client.ts'
import { collectionCalls } from './collections.ts'
import { fileCalls } from './files.ts'
import { backupCalls, mailOperationCalls, operationCalls } from './operations.ts'
import { realtimeCalls } from './realtime.ts'
import { recordCalls } from './records.ts'
import type { SdkAuthWorld } from './world.ts'

export function everyAreaOfTheSdk(world: () => SdkAuthWorld): void {
  recordCalls(world)
  fileCalls(world)
  realtimeCalls(world)
  authCalls(world)
  mailAuthCalls(world)
  batchCalls(world)
  collectionCalls(world)
  operationCalls(world)
  mailOperationCalls(world)
  clientCalls(world)
  backupCalls(world)
}
