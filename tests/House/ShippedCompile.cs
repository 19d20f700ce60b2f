using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace LowLevel.Tests.House;

/// <summary>What took part in the compile of a shipped library, read from what the build left behind: the sources that the
/// symbols name, the attributes in the assembly, and the folder where the compiler writes what generators added.</summary>
internal static class ShippedCompile
{
    /// <summary>Written by the build itself, not by a generator: assembly attributes from the project file.</summary>
    private static readonly string[] BuildFiles = [".AssemblyAttributes.cs", ".AssemblyInfo.cs"];

    /// <summary>Sources named in the symbols that are no files of the repository. A generated document has a path of its
    /// generator's making; a deterministic build maps the root to /_/.</summary>
    public static IEnumerable<string> ForeignDocuments(IEnumerable<string> documents, string root)
    {
        foreach (string document in documents.Select(d => d.Replace('\\', '/')))
        {
            string relative = document.StartsWith("/_/", StringComparison.Ordinal) ? document[3..] : Path.GetRelativePath(root, document);
            bool output = relative.Split('/').Any(part => part is "obj" or "bin" or "..");
            bool source = !output && File.Exists(Path.Combine(root, relative));
            bool named = BuildFiles.Any(b => relative.EndsWith(b, StringComparison.Ordinal));
            bool build = output && named && !relative.Contains("/generated/", StringComparison.Ordinal);
            if (!source && !build)
            {
                yield return document;
            }
        }
    }

    /// <summary>The source documents of an assembly's portable symbols.</summary>
    public static IReadOnlyList<string> Documents(string symbolFile)
    {
        using FileStream stream = File.OpenRead(symbolFile);
        using MetadataReaderProvider provider = MetadataReaderProvider.FromPortablePdbStream(stream);
        MetadataReader symbols = provider.GetMetadataReader();
        return [.. symbols.Documents.Select(d => symbols.GetString(symbols.GetDocument(d).Name))];
    }

    /// <summary>Types and members that say that a tool generated them (System.CodeDom.Compiler.GeneratedCodeAttribute, which
    /// each of the base library's generators puts on its output), and types in namespaces that only generators use.</summary>
    public static IEnumerable<string> GeneratedMarkers(string assemblyFile)
    {
        using FileStream stream = File.OpenRead(assemblyFile);
        using var portable = new PEReader(stream);
        MetadataReader metadata = portable.GetMetadataReader();
        var found = new List<string>();
        foreach (TypeDefinition type in metadata.TypeDefinitions.Select(metadata.GetTypeDefinition))
        {
            string space = metadata.GetString(type.Namespace);
            string name = $"{space}.{metadata.GetString(type.Name)}";
            bool generatorsOwn = space.EndsWith(".Generated", StringComparison.Ordinal) || space.StartsWith("Microsoft.Interop", StringComparison.Ordinal);
            IEnumerable<CustomAttributeHandle> members = type.GetMethods().SelectMany(m => metadata.GetMethodDefinition(m).GetCustomAttributes());
            if (generatorsOwn || type.GetCustomAttributes().Concat(members).Any(a => AttributeName(metadata, a) == "GeneratedCodeAttribute"))
            {
                found.Add(name);
            }
        }

        return found;
    }

    /// <summary>Sources that generators added, in the folders that the compiler writes under obj.</summary>
    public static IEnumerable<string> GeneratedFiles(string objectFolder) =>
        Directory.EnumerateDirectories(objectFolder, "generated", SearchOption.AllDirectories)
            .SelectMany(folder => Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories));

    private static string AttributeName(MetadataReader metadata, CustomAttributeHandle handle)
    {
        EntityHandle constructor = metadata.GetCustomAttribute(handle).Constructor;
        if (constructor.Kind != HandleKind.MemberReference)
        {
            return string.Empty;
        }

        EntityHandle type = metadata.GetMemberReference((MemberReferenceHandle)constructor).Parent;
        return type.Kind == HandleKind.TypeReference ? metadata.GetString(metadata.GetTypeReference((TypeReferenceHandle)type).Name) : string.Empty;
    }
}
