using System;
using System.Collections.Generic;
using System.IO;
using System.IO.Compression;
using System.Linq;
using System.Text;
using System.Xml.Linq;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Packages;

/// <summary>What is in the packages.</summary>
[Collection(nameof(PackageFixture))]
public sealed class PackageTests(PackageFixture packed)
{
    public static TheoryData<string> Projects => [.. PackageFixture.Shipped];

    [Fact]
    public void Packing_the_solution_makes_a_package_of_each_library_with_its_symbols_and_nothing_else()
    {
        IEnumerable<string> expected = PackageFixture.Names.SelectMany(n => new[] { $"{n}.{packed.Version}.nupkg", $"{n}.{packed.Version}.snupkg" });
        IEnumerable<string> made = Directory.EnumerateFileSystemEntries(packed.Packages).Select(f => Path.GetFileName(f)!);
        Assert.Equal(expected.Order(StringComparer.Ordinal), made.Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_package_says_what_it_is(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project);
        XElement nuspec = packed.Nuspec(name);
        Assert.Equal(name, Value(nuspec, "id"));
        Assert.Equal(packed.Version, Value(nuspec, "version"));
        Assert.Equal("MIT", Value(nuspec, "license"));
        Assert.Equal("README.md", Value(nuspec, "readme"));
        Assert.Equal("LowLevel authors", Value(nuspec, "authors"));
        Assert.Contains("off-heap", Value(nuspec, "tags"), StringComparison.Ordinal);
        Assert.Contains($"<Description>{Value(nuspec, "description")}</Description>", Repository.Read(project), StringComparison.Ordinal);
        string readme = Path.GetDirectoryName(project) + "/README.md";
        Assert.Equal(Repository.Read(readme), Encoding.UTF8.GetString(PackageFixture.Entry(packed.Package(name), "README.md")));
        Assert.StartsWith($"# {name}\n", Repository.Read(readme), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_package_holds_the_library_its_documentation_and_no_other_program(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project);
        using ZipArchive archive = ZipFile.OpenRead(packed.Package(name));
        IEnumerable<string> content = archive.Entries.Select(e => e.FullName).Where(f => f.Contains('/', StringComparison.Ordinal)
            && !f.StartsWith("_rels/", StringComparison.Ordinal) && !f.StartsWith("package/", StringComparison.Ordinal));
        Assert.Equal([$"lib/net10.0/{name}.dll", $"lib/net10.0/{name}.xml"], content.Order(StringComparer.Ordinal));
    }

    /// <summary>The libraries share internals, so a mix of versions would fail while it runs; and none depends on anything else.</summary>
    [Theory]
    [MemberData(nameof(Projects))]
    public void A_package_depends_on_the_layer_below_in_the_same_version_and_on_nothing_else(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project);
        string[] below = [.. Repository.Read(project).Split("<ProjectReference Include=\"").Skip(1)
            .Select(r => Path.GetFileNameWithoutExtension(r[..r.IndexOf('"', StringComparison.Ordinal)]))];
        IEnumerable<XElement> dependencies = packed.Nuspec(name).Descendants().Where(e => e.Name.LocalName == "dependency");
        Assert.Equal(
            below.Select(b => $"{b} [{packed.Version}]"),
            dependencies.Select(d => $"{d.Attribute("id")!.Value} {d.Attribute("version")!.Value}"));
        Assert.True(below.Length > 0 || name == "LowLevel.Native", $"{name} stands on nothing");
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void The_symbols_name_every_source_from_the_root_and_not_from_this_machine(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project);
        string symbols = packed.Folder(name + ".pdb");
        File.WriteAllBytes(symbols, PackageFixture.Entry(Path.ChangeExtension(packed.Package(name), ".snupkg"), $"lib/net10.0/{name}.pdb"));
        IReadOnlyList<string> documents = ShippedCompile.Documents(symbols);
        Assert.Contains(documents, d => d.StartsWith($"/_/{Path.GetDirectoryName(project)}/", StringComparison.Ordinal));
        Assert.All(documents, d => Assert.StartsWith("/_/", d, StringComparison.Ordinal));
    }

    [Fact]
    public void The_same_sources_in_another_folder_give_the_same_bytes()
    {
        string other = packed.Pack("another-folder");
        Assert.All(PackageFixture.Names, name => Assert.All(new[] { (".nupkg", ".dll"), (".nupkg", ".xml"), (".snupkg", ".pdb") }, part =>
        {
            string file = $"{name}.{packed.Version}{part.Item1}";
            string entry = $"lib/net10.0/{name}{part.Item2}";
            Assert.Equal(
                PackageFixture.Entry(Path.Combine(packed.Packages, file), entry), PackageFixture.Entry(Path.Combine(other, file), entry));
        }));
    }

    /// <summary>A check of the check: one type more, and one type less, than the declared API. Analyzers run here whatever the environment
    /// says of them.</summary>
    [Fact]
    public void What_is_public_and_not_declared_or_declared_and_not_public_fails_the_build()
    {
        string copy = packed.Copy("undeclared");
        File.WriteAllText(
            Path.Combine(copy, "Native", "Planted.cs"), "namespace LowLevel.Native;\n\n/// <summary>Planted.</summary>\npublic enum Planted;\n");
        File.AppendAllText(Path.Combine(copy, "Native", "PublicAPI.Unshipped.txt"), "LowLevel.Native.Gone\n");
        (int code, string output) = Dotnet.Build(copy, "build", "Native/LowLevel.Native.csproj", "-p:RunAnalyzers=true");
        Assert.True(code != 0, output);
        Assert.Contains("error RS0016: Symbol 'LowLevel.Native.Planted'", output, StringComparison.Ordinal);
        Assert.Contains("error RS0017: Symbol 'LowLevel.Native.Gone'", output, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void Every_library_declares_its_API(string project)
    {
        string folder = Path.GetDirectoryName(project)!;
        Assert.All(new[] { "Shipped", "Unshipped" }, kind =>
            Assert.StartsWith("#nullable enable\n", Repository.Read($"{folder}/PublicAPI.{kind}.txt"), StringComparison.Ordinal));
        Assert.Contains("LowLevel.", Repository.Read($"{folder}/PublicAPI.Unshipped.txt"), StringComparison.Ordinal);
    }

    private static string Value(XElement nuspec, string name) => Assert.Single(nuspec.Descendants(), e => e.Name.LocalName == name).Value;
}
