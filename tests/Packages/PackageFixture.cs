using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.IO.Compression;
using System.Linq;
using System.Text.Json;
using System.Xml.Linq;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Packages;

/// <summary>One collection: the tests in it run one after the other, so that no two builds fight, and the packages are made once.</summary>
[CollectionDefinition(nameof(PackageFixture))]
public sealed class PackageCollection : ICollectionFixture<PackageFixture>;

/// <summary>The solution, packed from a copy of the sources in a folder of the test's own: the work tree's bin and obj stay as they are.
/// The version is new with every run, because the packages folder of this machine keeps what it once unpacked.</summary>
public sealed class PackageFixture : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("lowlevel-packages-");
    private readonly Lazy<string> _packages;
    private readonly List<string> _apps = [];

    public PackageFixture() => _packages = new Lazy<string>(() => Pack("one"));

    /// <summary>The libraries that ship, by their projects.</summary>
    public static IReadOnlyList<string> Shipped { get; } = [.. ShippedCompileTests.Shipped.Select(row => row.Data)];

    public static IEnumerable<string> Names => Shipped.Select(p => Path.GetFileNameWithoutExtension(p)!);

    public string Version { get; } = string.Create(CultureInfo.InvariantCulture, $"0.1.0-test.{DateTime.UtcNow.Ticks}");

    /// <summary>A path in the test's folder.</summary>
    public string Folder(string name) => Path.Combine(_folder.FullName, name);

    /// <summary>The folder with the packages.</summary>
    public string Packages => _packages.Value;

    /// <summary>Copies the sources to a folder of that name, packs them there as the README says, and gives the folder with the packages.</summary>
    public string Pack(string name)
    {
        string copy = Copy(name);
        string packages = Folder(name + "-packages");
        Dotnet.MustBuild(
            copy, "pack", "LowLevel.sln", "-c", "Release", "-o", packages, $"-p:Version={Version}", "-p:ContinuousIntegrationBuild=true",
            "-p:RunAnalyzers=false");
        return packages;
    }

    /// <summary>The text files of the repository, which are all that the libraries are made of.</summary>
    public string Copy(string name)
    {
        string copy = Folder(name);
        foreach (string file in Repository.TextFiles)
        {
            string target = Path.Combine(copy, file);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(Repository.Full(file), target);
        }

        return copy;
    }

    /// <summary>A program of somebody else's: a sample's files in a folder that knows nothing of the repository, with the packages' folder
    /// added to the sources that the user has configured, and the version that "dotnet add package" would write.</summary>
    public string Fresh(string sample, string name)
    {
        string app = Folder(name);
        Directory.CreateDirectory(app);
        _apps.Add(app);
        foreach (string file in Repository.TextFiles.Where(f => f.StartsWith($"perf/samples/{sample}/", StringComparison.Ordinal)))
        {
            File.Copy(Repository.Full(file), Path.Combine(app, Path.GetFileName(file)));
        }

        IEnumerable<string> versions = Names.Select(n => $"<PackageVersion Include=\"{n}\" Version=\"{Version}\" />");
        File.WriteAllText(
            Path.Combine(app, "Directory.Packages.props"),
            "<Project><PropertyGroup><ManagePackageVersionsCentrally>true</ManagePackageVersionsCentrally></PropertyGroup>" +
            $"<ItemGroup>{string.Concat(versions)}</ItemGroup></Project>");
        File.WriteAllText(
            Path.Combine(app, "nuget.config"),
            $"<configuration><packageSources><add key=\"these\" value=\"{Packages}\" /></packageSources></configuration>");
        return app;
    }

    public static byte[] Entry(string package, string name)
    {
        using ZipArchive archive = ZipFile.OpenRead(package);
        ZipArchiveEntry entry = archive.GetEntry(name) ?? throw new FileNotFoundException($"{Path.GetFileName(package)} has no {name}");
        using Stream stream = entry.Open();
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }

    public string Package(string name) => Path.Combine(Packages, $"{name}.{Version}.nupkg");

    /// <summary>The package's description of itself.</summary>
    public XElement Nuspec(string name)
    {
        using var stream = new MemoryStream(Entry(Package(name), name + ".nuspec"));
        return XDocument.Load(stream).Root!;
    }

    public void Dispose()
    {
        foreach (string unpacked in _apps.SelectMany(Unpacked).Distinct().Where(Directory.Exists))
        {
            Directory.Delete(unpacked, recursive: true);
            string versions = Path.GetDirectoryName(unpacked)!;
            if (!Directory.EnumerateFileSystemEntries(versions).Any())
            {
                Directory.Delete(versions);
            }
        }

        _folder.Delete(recursive: true);
    }

    /// <summary>Where restoring an app unpacked our packages: in the user's folder for all packages.</summary>
    private IEnumerable<string> Unpacked(string app)
    {
        string assets = Path.Combine(app, "obj", "project.assets.json");
        if (!File.Exists(assets))
        {
            return [];
        }

        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(assets));
        string[] folders = [.. document.RootElement.GetProperty("packageFolders").EnumerateObject().Select(f => f.Name)];
        string[] paths =
        [
            .. document.RootElement.GetProperty("libraries").EnumerateObject()
                .Where(l => l.Name.EndsWith("/" + Version, StringComparison.Ordinal)).Select(l => l.Value.GetProperty("path").GetString()!),
        ];
        return [.. folders.SelectMany(folder => paths.Select(path => Path.Combine(folder, path)))];
    }
}
