// The schema of `hooks.db`, made with every tenant so that its history begins with slot 1 like the others.

import { Database } from '../engine/db/database.ts'

const statements: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS hooks (
  id TEXT PRIMARY KEY NOT NULL,
  name TEXT UNIQUE NOT NULL,
  type TEXT NOT NULL CHECK (type IN ('record.create', 'record.update', 'record.delete', 'route', 'cron')),
  collection TEXT,
  event TEXT NOT NULL CHECK (event IN ('before', 'after')),
  code TEXT NOT NULL,
  enabled INTEGER DEFAULT 1 NOT NULL,
  priority INTEGER DEFAULT 0 NOT NULL,
  description TEXT DEFAULT '' NOT NULL,
  version INTEGER DEFAULT 1 NOT NULL,
  last_executed TEXT,
  execution_count INTEGER DEFAULT 0 NOT NULL,
  error_count INTEGER DEFAULT 0 NOT NULL,
  last_error TEXT,
  created TEXT NOT NULL,
  updated TEXT NOT NULL,
  created_by TEXT,
  updated_by TEXT
)`,
  'CREATE INDEX IF NOT EXISTS idx_hooks_type ON hooks (type)',
  'CREATE INDEX IF NOT EXISTS idx_hooks_collection ON hooks (collection)',
  'CREATE INDEX IF NOT EXISTS idx_hooks_enabled ON hooks (enabled)',
  'CREATE INDEX IF NOT EXISTS idx_hooks_priority ON hooks (priority DESC)',
  `CREATE TABLE IF NOT EXISTS hook_executions (
  id TEXT PRIMARY KEY NOT NULL,
  hook_id TEXT NOT NULL REFERENCES hooks (id) ON DELETE CASCADE,
  tenant_id TEXT NOT NULL,
  started_at TEXT NOT NULL,
  completed_at TEXT,
  duration_ms INTEGER,
  success INTEGER,
  error TEXT,
  context TEXT
)`,
  'CREATE INDEX IF NOT EXISTS idx_hook_executions_hook_id ON hook_executions (hook_id)',
  'CREATE INDEX IF NOT EXISTS idx_hook_executions_started_at ON hook_executions (started_at)',
  'CREATE INDEX IF NOT EXISTS idx_hook_executions_success ON hook_executions (success)',
]

/** Opens `hooks.db`, making its tables where they are missing. The caller closes it. */
export async function openHooksDatabase(path: string): Promise<Database> {
  const database = Database.open({ path, checkpoint: 'owner' })
  try {
    await database.transaction(() => {
      for (const sql of statements) database.exec(sql)
    })
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}
