// Generates TypeScript from the AsyncAPI document with Modelina, and prints the names of the models as JSON.
//
// Arguments: the document, and the file for the models.

import { readFileSync, writeFileSync } from "node:fs";
import { AsyncAPIInputProcessor, TypeScriptGenerator } from "@asyncapi/modelina";
import { Parser } from "@asyncapi/parser";

const [document, target] = process.argv.slice(2);
const text = readFileSync(document, "utf8");

const { diagnostics } = await new Parser().parse(text);
const errors = diagnostics.filter((diagnostic) => diagnostic.severity === 0);
if (errors.length > 0) {
  throw new Error(JSON.stringify(errors));
}

// Modelina's parser reads 3.1, its list of versions ends with 3.0.
AsyncAPIInputProcessor.supportedVersions.push("3.1.0");
const models = await new TypeScriptGenerator({ modelType: "interface" }).generate(JSON.parse(text));
writeFileSync(target, models.map((model) => `export ${model.result}`).join("\n\n"));
console.log(JSON.stringify(models.map((model) => model.modelName)));
