using System;
using System.CodeDom.Compiler;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>No Roslyn source generator took part in what ships: three independent looks at each library's compile, and a
/// planted finding for each look.</summary>
public sealed class ShippedCompileTests
{
    /// <summary>Libraries that ship, by their projects: what Directory.Build.props names.</summary>
    public static TheoryData<string> Shipped =>
        [.. Repository.Projects.Where(p => Repository.Read("Directory.Build.props")
            .Contains($"== '{Path.GetFileNameWithoutExtension(p)}'", StringComparison.Ordinal))];

    [Fact]
    public void At_least_the_three_libraries_ship() =>
        Assert.Superset(
            new HashSet<string> { "Native/LowLevel.Native.csproj", "Interop/LowLevel.Interop.csproj", "Allocator/LowLevel.Allocator.csproj" },
            Shipped.Select(row => row.Data).ToHashSet());

    [Theory]
    [MemberData(nameof(Shipped))]
    public void Every_source_in_the_symbols_is_a_file_of_the_repository(string project)
    {
        IReadOnlyList<string> documents = ShippedCompile.Documents(Built(project, ".pdb"));
        string folder = Path.GetDirectoryName(project)! + "/";
        Assert.Contains(documents, d => d.Contains("/" + folder, StringComparison.Ordinal));
        Assert.Empty(ShippedCompile.ForeignDocuments(documents, Repository.Root));
    }

    [Theory]
    [MemberData(nameof(Shipped))]
    public void Nothing_in_the_assembly_says_that_a_tool_generated_it(string project) =>
        Assert.Empty(ShippedCompile.GeneratedMarkers(Built(project, ".dll")));

    [Theory]
    [MemberData(nameof(Shipped))]
    public void The_compiler_wrote_no_generated_source(string project)
    {
        Assert.Contains("<EmitCompilerGeneratedFiles>true</EmitCompilerGeneratedFiles>", Repository.Read("Directory.Build.props"), StringComparison.Ordinal);
        string objects = Repository.Full(Path.Combine(Path.GetDirectoryName(project)!, "obj"));
        string name = Path.GetFileNameWithoutExtension(project) + ".dll";
        Assert.NotEmpty(Directory.EnumerateFiles(objects, name, SearchOption.AllDirectories));
        Assert.Empty(ShippedCompile.GeneratedFiles(objects));
    }

    [Fact]
    public void A_planted_generated_file_is_found()
    {
        DirectoryInfo objects = Directory.CreateTempSubdirectory("lowlevel-house-");
        try
        {
            string generator = Path.Combine(objects.FullName, "Debug", "net10.0", "generated", "Some.Generator");
            Directory.CreateDirectory(generator);
            Assert.Empty(ShippedCompile.GeneratedFiles(objects.FullName));
            string planted = Path.Combine(generator, "Planted.g.cs");
            File.WriteAllText(planted, "class Planted;\n");
            Assert.Equal([planted], ShippedCompile.GeneratedFiles(objects.FullName));
        }
        finally
        {
            objects.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("Native/Ids.cs", false)]
    [InlineData("/_/Native/Ids.cs", false)]
    [InlineData("/_/Native/obj/Debug/net10.0/LowLevel.Native.AssemblyInfo.cs", false)]
    [InlineData("/_/Native/Nowhere.cs", true)]
    [InlineData("/_/Interop/obj/Debug/net10.0/generated/Microsoft.Interop.LibraryImportGenerator/LibraryImports.g.cs", true)]
    [InlineData("/_/Interop/obj/Debug/net10.0/generated/Some.Generator/My.AssemblyInfo.cs", true)]
    [InlineData("/elsewhere/Microsoft.Interop.LibraryImportGenerator/LibraryImports.g.cs", true)]
    public void A_document_that_is_no_source_of_ours_is_found(string document, bool foreign)
    {
        string path = document.StartsWith('/') ? document : Repository.Full(document);
        Assert.Equal(foreign, ShippedCompile.ForeignDocuments([path], Repository.Root).Any());
    }

    /// <summary>This test assembly is the planted one: two types of it say that a tool made them.</summary>
    [Fact]
    public void A_type_that_says_that_a_tool_generated_it_is_found()
    {
        IEnumerable<string> found = ShippedCompile.GeneratedMarkers(typeof(ShippedCompileTests).Assembly.Location);
        Assert.Contains(found, n => n.EndsWith(".PlantedType", StringComparison.Ordinal));
        Assert.Contains(found, n => n.EndsWith(".PlantedMember", StringComparison.Ordinal));
        Assert.DoesNotContain(found, n => n.EndsWith(".ShippedCompileTests", StringComparison.Ordinal));
    }

    private static string Built(string project, string extension) =>
        Path.Combine(AppContext.BaseDirectory, Path.GetFileNameWithoutExtension(project) + extension);

    [GeneratedCode("a planted tool", "1.0")]
    private static class PlantedType;

    private static class PlantedMember
    {
        [GeneratedCode("a planted tool", "1.0")]
        public static int One() => 1;
    }
}
