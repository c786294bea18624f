// Turns a table of options into flags of a command, and what was typed back into raw texts.

import { type Command, Option } from 'commander'
import type { OptionSources, OptionTable } from '../lib/config/resolve.ts'

/** Declares every option of `table`; values stay raw texts, so that one resolver words all errors. */
export function addOptionFlags(command: Command, table: OptionTable): Command {
  for (const spec of Object.values(table)) {
    const name = spec.placeholder === null ? `--${spec.flag} [true|false]` : `--${spec.flag} <${spec.placeholder}>`
    command.addOption(new Option(name, `${spec.about} [${spec.env}]`))
    if (spec.secret)
      command.addOption(new Option(`--${spec.flag}-file <PATH>`, `Read --${spec.flag} from a file. [${spec.env}_FILE]`))
  }
  return command
}

/** What was typed, by flag. A switch without a value reads as `true`. */
export function typedFlags(command: Command): OptionSources['flags'] {
  const flags: Record<string, string> = {}
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName())
    if (value !== undefined) flags[option.long?.slice(2) ?? option.name()] = value === true ? 'true' : String(value)
  }
  return flags
}
