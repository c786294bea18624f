// A thread of restore-threads.ts: expands ranges and checks files, so that the event loop of its process does not.

import { errorCode, errorMessage } from '../lib/errors.ts'
import { checkFile, DamagedDatabaseError } from './check-file.ts'
import { decodeRun } from './decode-run.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { ThreadAnswer, ThreadTask } from './restore-threads.ts'

declare const self: Worker

self.addEventListener('message', (event: MessageEvent<ThreadTask>) => {
  const task = event.data
  let answer: ThreadAnswer
  try {
    if (task.type === 'decode') answer = { id: task.id, type: 'decoded', piece: decodeRun(task.run) }
    else {
      checkFile(task.path, task.check)
      answer = { id: task.id, type: 'checked' }
    }
  } catch (error) {
    const kind =
      error instanceof LtxFormatError ? 'format' : error instanceof DamagedDatabaseError ? 'damaged' : 'other'
    answer = { id: task.id, type: 'failed', kind, code: errorCode(error) ?? null, message: errorMessage(error) }
  }
  self.postMessage(answer)
})
