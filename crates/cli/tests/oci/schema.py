# Holds the JSON on standard input against the JSON schema at argv[1], whose parts refer to each other by file name.
import json, os, sys, warnings

warnings.simplefilter("ignore", DeprecationWarning)
import jsonschema

path = os.path.abspath(sys.argv[1])
schema = json.load(open(path))
resolver = jsonschema.RefResolver("file://" + path, schema)
validator = jsonschema.Draft4Validator(schema, resolver=resolver)
for error in validator.iter_errors(json.load(sys.stdin)):
    print("/".join(map(str, error.absolute_path)) + ": " + error.message)
