/** The text of the script, imported with `{ type: 'text' }`; it runs in browsers alone. */
declare const script: string
export = script
